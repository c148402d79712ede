"""Tasks of the server: sent without waiting for one another, confirmed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from secrets import token_hex

from anyio import current_time, sleep

from imgtag.errors import Unavailable
from imgtag.flow.backoff import Backoff
from imgtag_meilisearch.client import IndexClient, Task

POLLING = Backoff(first=0.02, maximum=2.0)  # seconds
MAX_UIDS = 200  # in one address


class Tasks:
    """Waits for tasks."""

    def __init__(self, client: IndexClient) -> None:
        self._client = client
        self._run = token_hex(8)
        self._numbers = count()

    def new_note(self) -> str:
        """A note that no other task has: a server restored from a backup gives the same uid to another task later."""
        return f"imgtag-{self._run}-{next(self._numbers)}"

    async def wait(self, sent: Mapping[int, str | None], deadline: float) -> dict[int, Task]:
        """Wait for tasks, uid -> note, and return them. Those that the server does not know any more are left out.

        The server keeps notes for tasks about documents only; for the others None, which is not compared.

        Raises Unavailable after ``deadline`` seconds, or where the server does not answer meanwhile.
        """
        end, final, waiting = current_time() + deadline, dict[int, Task](), set(sent)
        polls = 0
        while waiting:
            # The tasks of one index are processed in the order of their uids, so only the newest is polled.
            if not all(task.is_final for task in await self._list([max(waiting)])):
                polls += 1
                pause = POLLING.delay(polls)
                if current_time() + pause > end:
                    hint = "Look at the queue of the Meilisearch server (GET /tasks); or raise task_deadline."
                    raise Unavailable("Meilisearch did not index the documents in time", hint=hint)
                await sleep(pause)
                continue
            tasks = {task.uid: task for task in await self._list(sorted(waiting))}
            waiting = {uid for uid, task in tasks.items() if not task.is_final}
            final |= {uid: task for uid, task in tasks.items() if task.is_final and sent[uid] in {None, task.note}}
        return final

    async def _list(self, uids: Sequence[int]) -> list[Task]:
        tasks: list[Task] = []
        for start in range(0, len(uids), MAX_UIDS):
            part = ",".join(map(str, uids[start : start + MAX_UIDS]))
            tasks += await self._client.run(self._client.tasks, uids=part, limit=MAX_UIDS)
        return tasks
