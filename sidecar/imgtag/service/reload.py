"""A configuration that is read again while the sidecar runs: tried as far as can be, before the old one is left."""

from __future__ import annotations

from collections.abc import Callable

from anyio import to_thread

from imgtag.assembly import make_indexer, make_pool, make_source, make_store
from imgtag.config.check import require_run
from imgtag.config.configuration import Config
from imgtag.models.resolver import ModelResolver


async def reread(read: Callable[[], Config]) -> Config:
    """The configuration as ``read`` gives it now, with every model loaded once.

    That servers answer is not asked: one that is away is waited for, as at the start. Raises ConfigError, ModelError,
    PluginError, Unavailable.
    """
    config = await to_thread.run_sync(read)
    require_run(config)
    orders = await to_thread.run_sync(ModelResolver(config).all)
    async with make_pool(config, 1, list(orders.values())):
        pass
    for make in (make_indexer, make_store, make_source):
        make(config)
    return config
