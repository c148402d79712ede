"""A small server, and a store on it."""

from contextlib import ExitStack
from inspect import isasyncgen

import pytest
from anyio.from_thread import start_blocking_portal

from imgtag.plugin.spec import PluginContext
from imgtag_s3 import SPEC
from servers.tiny_s3 import TinyS3


@pytest.fixture
def open_store(tmp_path):
    """Starts a server and enters a store on it: keyword arguments are settings.

    Returns a function that calls it; `look` opens an object, and gives its state and its bytes.
    """
    with start_blocking_portal() as portal, ExitStack() as stack:

        def start(server, buckets=(), strategies=frozenset(), **settings):
            tiny = stack.enter_context(server)
            context = PluginContext(site="home", state_dir=tmp_path, buckets=buckets, strategies=strategies)
            store = SPEC.load()(SPEC.settings(**tiny.settings | settings), context)
            stack.enter_context(portal.wrap_async_context_manager(store))

            async def look(ref, read_ahead=0):
                async with store.open(ref, read_ahead=read_ahead) as body:
                    return (None, None) if body is None else (body.state, await body.read(1_000))

            async def call(method, args, kwargs):
                if method == "look":
                    return await look(*args, **kwargs)
                result = getattr(store, method)(*args, **kwargs)
                return [item async for item in result] if isasyncgen(result) else await result

            return lambda method, *args, **kwargs: portal.call(call, method, args, kwargs)

        yield start


@pytest.fixture
def tiny():
    return TinyS3()
