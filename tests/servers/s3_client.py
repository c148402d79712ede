"""The plugin's client for tests, which call it from threads and wait for the response."""

from contextlib import ExitStack
from functools import partial

from anyio.from_thread import start_blocking_portal

from imgtag_s3.client import Client


class S3Client:
    """A client on an event loop of its own."""

    def __init__(self, settings):
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            self.client = Client(settings)
            stack.enter_context(self._portal.wrap_async_context_manager(self.client))
            self._stack = stack.pop_all()

    def send(self, *request, **options):
        return self._portal.call(lambda: self.client.send(*request, **options))

    def admin_info(self):
        return self._portal.call(self.client.admin_info)

    def blocking(self, make, *arguments):
        """What ``make`` makes with the client, its methods called on the loop."""
        return _Blocking(self._portal, make(self.client, *arguments))

    def call(self, function, *arguments):
        """The result of ``function``, called with the client."""
        return self._portal.call(function, self.client, *arguments)

    def close(self):
        self._stack.close()


class _Blocking:
    def __init__(self, portal, part):
        self._portal = portal
        self._part = part

    def __getattr__(self, name):
        return partial(self._portal.call, getattr(self._part, name))
