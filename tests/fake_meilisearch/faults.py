"""What goes wrong on demand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fake_meilisearch.errors import Refusal
from fake_meilisearch.tasks import Task


@dataclass
class Answer:
    """Answer so many requests whose path ends so with this, in place of doing them; None: until it is taken out."""

    code: str
    status: int
    path: str = ""
    times: int | None = 1
    seconds: float = 0.0
    body: bytes | None = None
    after: bool = False
    """Do what was asked all the same, then answer so: the answer was lost."""


@dataclass
class Faults:
    """Planned faults, and what was asked."""

    answers: list[Answer] = field(default_factory=list)
    failing: Callable[[Task], Refusal | None] = lambda _: None
    payload_limit: int = 100 * 2**20
    """Bytes of a body, after decompression."""
    asked: list[str] = field(default_factory=list)
    """`METHOD path` of all requests."""

    def take(self, path: str) -> Answer | None:
        """The fault that a request meets."""
        for answer in self.answers:
            if path.endswith(answer.path):
                if answer.times is not None:
                    answer.times -= 1
                    if answer.times <= 0:
                        self.answers.remove(answer)
                return answer
        return None

    def count(self, request: str) -> int:
        """How often `METHOD path-end` was asked."""
        method, _, path = request.partition(" ")
        return sum(request.startswith(f"{method} ") and request.endswith(path) for request in self.asked)
