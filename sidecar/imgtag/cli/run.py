"""``imgtag run``: label what the source reports, until stopped."""

from __future__ import annotations

import anyio
import click

from imgtag.cli.main import App, pass_app
from imgtag.config.check import require_run
from imgtag.config.mark_key import create_mark_key


@click.command(name="run")
@pass_app
def command(app: App) -> int:
    """Label new images, as the source reports them, until stopped.

    SIGTERM and Ctrl-C finish work in progress; a second one stops at once. SIGHUP reloads the configuration.
    """
    config = app.load()
    require_run(config)
    if config.labels.mark_key is None and config.require("store").name == "directory":
        # A folder has one sidecar, so its first start can make the key; sidecars of one bucket must share theirs.
        create_mark_key(config.state_dir)
        config = app.load()
    from imgtag.ops import logs  # noqa: PLC0415  (a wrong configuration is reported without waiting for these)
    from imgtag.service.sidecar import Sidecar  # noqa: PLC0415
    from imgtag.service.supervision import Interrupted, supervise  # noqa: PLC0415

    logs.configure(config.ops.log_format, config.ops.log_level)
    code = 0
    try:
        anyio.run(supervise, Sidecar(config=config), app.load)
    except* Interrupted:
        code = 1
    return code
