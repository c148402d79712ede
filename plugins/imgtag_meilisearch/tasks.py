"""Tasks of the server: sent without waiting for one another, confirmed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from secrets import token_hex

from anyio import current_time, sleep

from imgtag.errors import Unavailable
from imgtag_meilisearch.connection import Connection, Task
from imgtag_meilisearch.threads import Threads

SOONEST, SLOWEST, SLOWER = 0.02, 2.0, 1.6  # seconds, seconds, times
LISTED = 200  # uids in one address


class Tasks:
    """Waits for tasks. Those of one index are worked off in the order of their uids, so only the newest is watched."""

    def __init__(self, connection: Connection, threads: Threads) -> None:
        self._connection = connection
        self._threads = threads
        self._run = token_hex(8)
        self._notes = count()

    def note(self) -> str:
        """A mark for one task. A server restored from a backup gives the same uid to another task later."""
        return f"imgtag-{self._run}-{next(self._notes)}"

    async def finished(self, sent: Mapping[int, str | None], deadline: float) -> dict[int, Task]:
        """The tasks, uid -> note, when they are done. Those that the server does not know any more are left out.

        The server keeps notes for tasks about documents only; for the others None, which is not compared.

        Raises Unavailable after ``deadline`` seconds, or where the server does not answer meanwhile.
        """
        end, done, waiting = current_time() + deadline, dict[int, Task](), set(sent)
        pause = SOONEST
        while waiting:
            if await self._waits(max(waiting)):
                await self._sleep(pause, end)
                pause = min(pause * SLOWER, SLOWEST)
                continue
            found = {task.uid: task for task in await self._listed(sorted(waiting))}
            waiting = {uid for uid, task in found.items() if not task.done}
            done |= {uid: task for uid, task in found.items() if task.done and sent[uid] in {None, task.note}}
        return done

    async def _waits(self, uid: int) -> bool:
        return any(not task.done for task in await self._listed([uid]))

    async def _listed(self, uids: Sequence[int]) -> list[Task]:
        found: list[Task] = []
        for start in range(0, len(uids), LISTED):
            part = ",".join(map(str, uids[start : start + LISTED]))
            found += await self._threads.run(self._connection.tasks, uids=part, limit=LISTED)
        return found

    async def _sleep(self, pause: float, end: float) -> None:
        if current_time() + pause > end:
            hint = "Look at the queue of the Meilisearch server (GET /tasks); or raise task_deadline."
            raise Unavailable("Meilisearch has not indexed in time what it was sent", hint=hint)
        await sleep(pause)
