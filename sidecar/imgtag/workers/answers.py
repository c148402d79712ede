"""What a worker answers, taken for what it is: the words of a process that a hostile picture may have taken over.

Every function raises FrameError where an answer makes no sense.
"""

from __future__ import annotations

import math
import re
from base64 import b64decode
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from imgtag.errors import ImgtagError, ModelError, PluginError, Undecodable, Unreadable
from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.facts import Facts
from imgtag.types.labels import Raw, identity
from imgtag.types.vector import decode_values, is_projection
from imgtag.workers.frames import FrameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CODE = re.compile(r"[a-z0-9_]{1,40}")
_DIGEST = re.compile(r"[A-Za-z0-9_-]{22}")
_VARIANT = re.compile(r"[0-9a-f]{0,8}")
_FLOAT = 4
"""Bytes."""
_TEXT = 500
"""Longest message that is passed on, characters."""


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What a worker says of a picture; ``decode`` and ``infer`` in seconds, ``vec`` as in `Vector.values`.

    ``every`` has the probabilities of all classes, float32, where these were asked for.
    """

    raw: Raw
    facts: Facts
    content: str
    decode: float
    infer: float
    vec: bytes | None = None
    every: bytes | None = None


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
        vec, every = _vec(answer["vec"]), _every(answer.get("every"), classes)
        return Inference(
            raw=raw, facts=facts, content=answer["content"], decode=decode, infer=infer, vec=vec, every=every
        )


def refusal(answer: Mapping[str, Any]) -> ImgtagError | None:
    """Why a picture was refused; None where it was not. Never an error that would stop the sidecar."""
    return _error(answer, {"Unreadable": Unreadable, "Undecodable": Undecodable}, Undecodable)


def failure(answer: Mapping[str, Any]) -> ImgtagError | None:
    """Why a worker did not start; None where it did."""
    return _error(answer, {"ModelError": ModelError, "PluginError": PluginError}, ModelError)


def model_info(answer: Mapping[str, Any]) -> ModelInfo:
    """The model that a worker has loaded. Raises ModelError where its labels cannot be told apart on an object."""
    with _sense():
        said = dict(answer["info"])
        for name in ("labels", "display", "size"):
            said[name] = tuple(said[name])
        info = ModelInfo(**{**said, "taxonomy": _taxonomy(said["taxonomy"])})
        if len(info.labels) != len(info.display) or not all(isinstance(label, str) for label in info.labels):
            raise ValueError
        if len(info.size) != 2 or min(info.size) < 1:
            raise ValueError
        if info.projection and not is_projection(info.projection):
            raise ValueError
        if not _VARIANT.fullmatch(info.variant) or not 0 < info.temperature < math.inf:
            raise ValueError
        _texts(info.display)
        if len(info.taxonomy.classes) not in {0, len(info.labels)}:
            raise ValueError
    _require_identities(info)
    return info


def _taxonomy(said: Mapping[str, Any]) -> Taxonomy:
    classes = (
        ClassTerms(category=each["category"], ancestors=_texts(each["ancestors"]), synonyms=_texts(each["synonyms"]))
        for each in said["classes"]
    )
    above = (AncestorTerms(name=each["name"], synonyms=_texts(each["synonyms"])) for each in said["ancestors"])
    words = Taxonomy(classes=tuple(classes), ancestors=tuple(above))
    _texts([each.category or "" for each in words.classes])
    _texts([each.name for each in words.ancestors])
    return words


def _texts(said: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(said, str) or not all(isinstance(text, str) for text in said):
        raise ValueError
    return tuple(said)


def _require_identities(info: ModelInfo) -> None:
    """S3 lowers the case of what is written: labels must be different, and not empty, after that."""
    for number, (label, display) in enumerate(zip(info.labels, info.display, strict=True)):
        if not label or not display.strip():
            _refuse(info, f"class {number} has no name")
        if label != identity(label):
            _refuse(info, f"its label {label!r} is not in lower case and single-spaced: {identity(label)!r}")
    twice = [label for label, count in Counter(info.labels).items() if count > 1]
    if twice:
        _refuse(info, f"{twice[0]!r} is the label of more than one class")


def _refuse(info: ModelInfo, message: str) -> NoReturn:
    hint = "Its classifier must make them lower case and unique, such as `crane` and `crane (machine)`."
    raise ModelError(f"the labels of the model {info.name}: {message}", hint=hint)


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


def _vec(text: str) -> bytes | None:
    values = decode_values(text) if text else None
    if text and values is None:
        raise ValueError
    return values


def _every(text: str | None, classes: int) -> bytes | None:
    values = None if text is None else b64decode(text, validate=True)
    if values is not None and len(values) != classes * _FLOAT:
        raise ValueError
    return values


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
