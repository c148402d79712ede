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
NEWS = 1 / 8  # how much the last task counts in what is expected of the next one


class Expectation:
    """When a task is likely done: the mean of the last ones and their mean deviation, as TCP expects answers.

    https://www.rfc-editor.org/rfc/rfc6298
    """

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    @property
    def seconds(self) -> float:
        """After so many seconds a task is likely done; no longer than the longest pause between two questions."""
        return 0.0 if self._mean is None else min(POLLING.maximum, self._mean + 2 * self._deviation)

    def learn(self, seconds: float) -> None:
        """One task took so long."""
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
        self._deviation += NEWS * (abs(seconds - self._mean) - self._deviation)
        self._mean += NEWS * (seconds - self._mean)


class Tasks:
    """Waits for tasks."""

    def __init__(self, client: IndexClient) -> None:
        self._client = client
        self._run = token_hex(8)
        self._numbers = count()
        self._expected = Expectation()

    def new_note(self) -> str:
        """A note that no other task has: a server restored from a backup gives the same uid to another task later."""
        return f"imgtag-{self._run}-{next(self._numbers)}"

    async def wait(self, sent: Mapping[int, str | None], deadline: float) -> dict[int, Task]:
        """Wait for tasks, uid -> note, and return them. Those that the server does not know any more are left out.

        The server keeps notes for tasks about documents only; for the others None, which is not compared.

        Raises Unavailable after ``deadline`` seconds, or where the server does not answer meanwhile.
        """
        end, final, waiting = current_time() + deadline, dict[int, Task](), sorted(sent)
        polls = 0
        await sleep(min(self._expected.seconds, deadline))
        while waiting:
            # The tasks of one index are processed in the order of their uids: the newest tells of all.
            tasks = await self._list(waiting[-MAX_UIDS:])
            if not all(task.is_final for task in tasks if task.uid == waiting[-1]):
                polls += 1
                pause = POLLING.delay(polls)
                if current_time() + pause > end:
                    hint = "Look at the queue of the Meilisearch server (GET /tasks); or raise task_deadline."
                    raise Unavailable("Meilisearch did not index the documents in time", hint=hint)
                await sleep(pause)
                continue
            tasks += await self._list(waiting[:-MAX_UIDS])
            for task in tasks:
                if task.seconds is not None and sent[task.uid] == task.note is not None:
                    self._expected.learn(task.seconds)
            waiting = sorted(task.uid for task in tasks if not task.is_final)
            final |= {task.uid: task for task in tasks if task.is_final and sent[task.uid] in {None, task.note}}
        return final

    async def _list(self, uids: Sequence[int]) -> list[Task]:
        tasks: list[Task] = []
        for start in range(0, len(uids), MAX_UIDS):
            part = ",".join(map(str, uids[start : start + MAX_UIDS]))
            tasks += await self._client.run(self._client.tasks, uids=part, limit=MAX_UIDS)
        return tasks
