"""What a worker answers, taken for what it is: the words of a process that a hostile picture may have taken over.

Every function raises FrameError where an answer is invalid.
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
from imgtag.types.prepared_image import ImageOrder, PreparedImage
from imgtag.types.thumbnail import Thumbnail, ThumbnailOrder
from imgtag.types.vector import decode_values, is_projection
from imgtag.workers.confinement import WORKER_FEATURES
from imgtag.workers.frames import FrameError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REFUSAL_CODES = frozenset(
    {
        "classifier",
        "empty",
        "memory",
        "metadata_too_large",
        "not_an_image",
        "too_many_frames",
        "too_many_pixels",
        "too_many_scans",
        "too_large",
        "too_small",
        "truncated",
        "unsupported_format",
    }
)
"""Codes that a worker may give to a refusal, which metrics and documents carry. Any other becomes that of its kind."""
_VARIANT = re.compile(r"[0-9a-f]{0,8}")
_FLOAT, _SHA256 = 4, 32
"""Bytes."""
MAX_MESSAGE = 500
"""Longest message that is passed on, characters."""


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What a worker says of a picture; ``decode`` and ``infer`` in seconds, ``vec`` as in `Vector.values`.

    ``waited`` is what passed, in seconds, until a worker was free.

    ``digest`` is the SHA-256 of the picture's bytes, as the worker says where the sidecar did not make it itself.

    ``all_probabilities`` has those of all classes, float32, where these were asked for.
    """

    raw: Raw
    facts: Facts
    digest: bytes
    decode: float
    infer: float
    vec: bytes | None = None
    all_probabilities: bytes | None = None
    waited: float = 0.0


def parse_inference(answer: Mapping[str, Any], classes: int, digest: bytes | None = None) -> Inference:
    """The scores of a picture by a model of so many classes; without its SHA-256, the worker was to make it."""
    with _refusing_nonsense():
        raw = Raw.decode(answer["raw"]) if answer["raw"] else Raw(())
        facts = Facts.decode(answer["facts"])
        if raw is None or facts is None:
            raise ValueError
        if any(number >= classes for number, _ in raw.classes):
            raise ValueError
        vec = decode_values(answer["vec"]) if answer["vec"] else None
        if answer["vec"] and vec is None:
            raise ValueError
        text = answer.get("all_probabilities")
        all_probabilities = None if text is None else b64decode(text, validate=True)
        if all_probabilities is not None and len(all_probabilities) != classes * _FLOAT:
            raise ValueError
        return Inference(
            raw=raw,
            facts=facts,
            digest=_parse_digest(answer["digest"]) if digest is None else digest,
            decode=_require_seconds(answer["decode"]),
            infer=_require_seconds(answer["infer"]),
            vec=vec,
            all_probabilities=all_probabilities,
        )


def parse_thumbnail(answer: Mapping[str, Any], order: ThumbnailOrder) -> Thumbnail:
    """The thumbnail that was ordered."""
    with _refusing_nonsense():
        fields = answer["thumbnail"]
        width, height = int(fields["width"]), int(fields["height"])
        if not (1 <= width <= order.width and 1 <= height <= order.height):
            raise ValueError
        return Thumbnail(data=b64decode(fields["data"], validate=True), width=width, height=height)


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """The facts of a picture, and the picture for a server where it was ordered. ``decode`` and ``waited`` as in
    `Inference`.
    """

    facts: Facts
    image: PreparedImage | None
    decode: float
    waited: float = 0.0


def parse_preparation(answer: Mapping[str, Any], order: ImageOrder | None) -> Preparation:
    """The picture that was ordered, within its limits."""
    with _refusing_nonsense():
        facts = Facts.decode(answer["facts"])
        if facts is None:
            raise ValueError
        image = None
        if order is not None:
            fields = answer["prepared"]
            data = b64decode(fields["data"], validate=True)
            image = PreparedImage(data=data, width=int(fields["width"]), height=int(fields["height"]))
            if order.format == "rgb":
                is_as_ordered = (image.width, image.height) == order.size and len(data) == math.prod(order.size) * 3
            else:
                sides = image.width, image.height
                is_as_ordered = order.min_side <= min(sides) and max(sides) <= order.max_side
                is_as_ordered = is_as_ordered and 0 < len(data) <= order.max_bytes
            if not is_as_ordered:
                raise ValueError
        return Preparation(facts=facts, image=image, decode=_require_seconds(answer["decode"]))


def parse_confinement(answer: Mapping[str, Any]) -> frozenset[str]:
    """What confines the worker, said before anything could take it over."""
    with _refusing_nonsense():
        granted = frozenset(answer["confinement"])
        if not granted <= set(WORKER_FEATURES):
            raise ValueError
        return granted


def parse_refusal(answer: Mapping[str, Any]) -> ImgtagError | None:
    """Why a picture was refused; None where it was not. Never an error that would stop the sidecar."""
    return _parse_error(answer, {"Unreadable": Unreadable, "Undecodable": Undecodable}, Undecodable)


def parse_failure(answer: Mapping[str, Any]) -> ImgtagError | None:
    """Why a worker did not start; None where it did."""
    return _parse_error(answer, {"ModelError": ModelError, "PluginError": PluginError}, ModelError)


def parse_model_info(answer: Mapping[str, Any]) -> ModelInfo:
    """The model that a worker has loaded. Raises ModelError where its labels cannot be told apart on an object."""
    with _refusing_nonsense():
        fields = dict(answer["info"])
        for name in ("labels", "display", "size"):
            fields[name] = tuple(fields[name])
        info = ModelInfo(**{**fields, "taxonomy": _decode_taxonomy(fields["taxonomy"])})
        if len(info.labels) != len(info.display) or not all(isinstance(label, str) for label in info.labels):
            raise ValueError
        if len(info.size) != 2 or min(info.size) < 1:
            raise ValueError
        if info.projection and not is_projection(info.projection):
            raise ValueError
        if not _VARIANT.fullmatch(info.variant) or not 0 < info.temperature < math.inf:
            raise ValueError
        _require_texts(info.display)
        if len(info.taxonomy.classes) not in {0, len(info.labels)}:
            raise ValueError
    _require_identities(info)
    return info


def _decode_taxonomy(fields: Mapping[str, Any]) -> Taxonomy:
    classes = (
        ClassTerms(
            category=terms["category"],
            ancestors=_require_texts(terms["ancestors"]),
            synonyms=_require_texts(terms["synonyms"]),
        )
        for terms in fields["classes"]
    )
    ancestors = (
        AncestorTerms(name=terms["name"], synonyms=_require_texts(terms["synonyms"])) for terms in fields["ancestors"]
    )
    taxonomy = Taxonomy(classes=tuple(classes), ancestors=tuple(ancestors))
    _require_texts([terms.category or "" for terms in taxonomy.classes])
    _require_texts([terms.name for terms in taxonomy.ancestors])
    return taxonomy


def _require_texts(values: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(text, str) for text in values):
        raise ValueError
    return tuple(values)


def _require_identities(info: ModelInfo) -> None:
    """S3 lowers the case of what is written: labels must be different, and not empty, after that."""
    for number, (label, display) in enumerate(zip(info.labels, info.display, strict=True)):
        if not label or not display.strip():
            _refuse_labels(info, f"class {number} has no name")
        if label != identity(label):
            _refuse_labels(info, f"its label {label!r} is not in lower case and single-spaced: {identity(label)!r}")
    twice = [label for label, count in Counter(info.labels).items() if count > 1]
    if twice:
        _refuse_labels(info, f"{twice[0]!r} is the label of more than one class")


def _refuse_labels(info: ModelInfo, message: str) -> NoReturn:
    hint = "Its classifier must make them lower case and unique, such as `crane` and `crane (machine)`."
    raise ModelError(f"the labels of the model {info.name}: {message}", hint=hint)


def _parse_error(
    answer: Mapping[str, Any], kinds: Mapping[str, type[ImgtagError]], otherwise: type[ImgtagError]
) -> ImgtagError | None:
    if "error" not in answer:
        return None
    with _refusing_nonsense():
        error = answer["error"]
        (code,) = _require_texts([error["code"]])
        code = code if code in REFUSAL_CODES else ""
        kind = kinds.get(error["type"], otherwise)
        return kind(_to_printable(error["message"]), hint=_to_printable(error["hint"]), code=code)


def _to_printable(text: str) -> str:
    """One line, without what a log or a terminal would act upon."""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_MESSAGE])


def _parse_digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != _SHA256:
        raise ValueError
    return digest


def _require_seconds(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError
    return max(0.0, float(value))


@contextmanager
def _refusing_nonsense() -> Iterator[None]:
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise FrameError("an answer is invalid") from error
