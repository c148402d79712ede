"""What a worker answers, taken for what it is: the words of a process that a hostile picture may have taken over.

Every function raises FrameError where an answer makes no sense.
"""

from __future__ import annotations

import math
import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imgtag.errors import ImgtagError, ModelError, PluginError, Undecodable, Unreadable
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.facts import Facts
from imgtag.types.labels import Raw
from imgtag.workers.frames import FrameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CODE = re.compile(r"[a-z0-9_]{1,40}")
_DIGEST = re.compile(r"[A-Za-z0-9_-]{22}")
_TEXT = 500
"""Longest message that is passed on, characters."""


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What a worker says of a picture; ``decode`` and ``infer`` in seconds."""

    raw: Raw
    facts: Facts
    content: str
    decode: float
    infer: float


def inference(answer: Mapping[str, Any], classes: int) -> Inference:
    """The scores of a picture, by a model of so many classes."""
    with _sense():
        raw = Raw.decode(answer["raw"]) if answer["raw"] else Raw(())
        facts = Facts.decode(answer["facts"])
        if raw is None or facts is None or not _DIGEST.fullmatch(answer["content"]):
            raise ValueError
        if any(number >= classes for number, _ in raw.classes):
            raise ValueError
        decode, infer = _seconds(answer["decode"]), _seconds(answer["infer"])
        return Inference(raw=raw, facts=facts, content=answer["content"], decode=decode, infer=infer)


def refusal(answer: Mapping[str, Any]) -> ImgtagError | None:
    """Why a picture was refused; None where it was not. Never an error that would stop the sidecar."""
    return _error(answer, {"Unreadable": Unreadable, "Undecodable": Undecodable}, Undecodable)


def failure(answer: Mapping[str, Any]) -> ImgtagError | None:
    """Why a worker did not start; None where it did."""
    return _error(answer, {"ModelError": ModelError, "PluginError": PluginError}, ModelError)


def model_info(answer: Mapping[str, Any]) -> ModelInfo:
    """The model that a worker has loaded."""
    with _sense():
        said = dict(answer["info"])
        for name in ("labels", "display", "size"):
            said[name] = tuple(said[name])
        info = ModelInfo(**said)
        if len(info.labels) != len(info.display) or not all(isinstance(label, str) for label in info.labels):
            raise ValueError
        if len(info.size) != 2 or min(info.size) < 1:
            raise ValueError
        return info


def _error(
    answer: Mapping[str, Any], kinds: Mapping[str, type[ImgtagError]], otherwise: type[ImgtagError]
) -> ImgtagError | None:
    if "error" not in answer:
        return None
    with _sense():
        said = answer["error"]
        code = said["code"] if _CODE.fullmatch(said["code"]) else None
        kind = kinds.get(said["type"], otherwise)
        return kind(_printable(said["message"]), hint=_printable(said["hint"]), code=code)


def _printable(text: str) -> str:
    """One line, without what a log or a terminal would act upon."""
    return "".join(char if char.isprintable() else " " for char in text[:_TEXT])


def _seconds(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError
    return max(0.0, float(value))


@contextmanager
def _sense() -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise FrameError("an answer makes no sense") from error
