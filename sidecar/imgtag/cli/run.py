"""``imgtag run``: label what the source reports, until stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from imgtag.cli.main import App, pass_app
from imgtag.errors import ConfigError
from imgtag.workers.process import started_ahead


@click.command(name="run")
@click.option(
    "--profile",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="At the end, write to FILE where the event loop spent its time, for `python -m pstats FILE`.",
)
@pass_app
def command(app: App, profile: Path | None) -> int:
    """Label new images, as the source reports them, until stopped.

    SIGTERM and Ctrl-C finish work in progress; a second one stops at once. SIGHUP reloads the configuration.
    """
    with started_ahead():
        return _run(app, profile)


def _run(app: App, profile: Path | None) -> int:
    # Only now, while the first worker's process starts on another core.
    import anyio  # noqa: PLC0415

    from imgtag.config.check import require_run  # noqa: PLC0415
    from imgtag.config.mark_key import create_mark_key  # noqa: PLC0415

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
    with ExitStack() as stack:
        if profile is not None:
            stack.enter_context(_profiled(profile))
        try:
            anyio.run(supervise, Sidecar(config=config), app.load)
        except* Interrupted:
            code = 1
    return code


@contextmanager
def _profiled(file: Path) -> Iterator[None]:
    """Profile this thread, which runs the event loop; threads and workers beside it are not seen."""
    from cProfile import Profile  # noqa: PLC0415

    try:
        file.open("ab").close()  # a wrong path is reported now, not after hours
    except OSError as error:
        raise ConfigError(f"--profile {file}: {error.strerror}", hint="Name a file in a folder that exists.") from error
    profiler = Profile()
    profiler.enable()
    try:
        yield
    finally:
        profiler.disable()
        profiler.dump_stats(file)
