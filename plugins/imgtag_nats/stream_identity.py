"""Which stream we worked on: another one of the same name does not hold what was in the old one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path as SyncPath
from typing import Any

from anyio import Path, to_thread

from imgtag.errors import Unavailable
from imgtag.files.writing import write_atomically
from imgtag.plugin import Scope
from imgtag.plugin.hint_messages import encode
from imgtag_nats.jetstream import JetStream

log = logging.getLogger(__name__)


class StreamIdentity:
    """Remembers the stream's name and creation time in a file, and asks for a resync if another stream took its place.

    The resync of each bucket is published once, for the first sidecar that takes it.
    """

    def __init__(self, path: SyncPath, jetstream: JetStream, hints_subject: str, buckets: Sequence[str]) -> None:
        self._path = path
        self._jetstream = jetstream
        self._hints_subject = hints_subject
        self._buckets = buckets

    async def check(self, name: str, info: Mapping[str, Any]) -> None:
        """Compare the stream that the server describes with the one of last time. Raises Unavailable."""
        identity = f"{name} {info['created']}"
        try:
            known = (await Path(self._path).read_bytes()).decode(errors="replace")
        except OSError:
            known = ""
        if known == identity:
            return
        if known:
            log.warning("stream_recreated", extra={"buckets": list(self._buckets)})
            for bucket in self._buckets:
                # The message has an identity because every sidecar of the site notices.
                message = encode(Scope(bucket))
                await self._jetstream.publish(self._hints_subject, message, f"resync {identity} {bucket}")
        try:
            await to_thread.run_sync(write_atomically, self._path, identity.encode())
        except OSError as error:
            raise Unavailable(f"{self._path}: {error.strerror}", hint="Set `dir` under [state].") from error
