"""One request after the other: decode, classify, reduce or prepare, answer."""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import asdict
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from imgtag.errors import ImgtagError, ModelError, PluginError, Undecodable, Unreadable
from imgtag.plugin.classifier import Classifier
from imgtag.plugin_loader import describe, import_entry, load_factory, require_members
from imgtag.types.labels import RAW_CLASSES, Raw
from imgtag.types.picture_limits import PictureLimits
from imgtag.types.prepared_image import ImageOrder
from imgtag.types.thumbnail import ThumbnailOrder
from imgtag.types.vector import LENGTH
from imgtag.workers.child.decode import decode
from imgtag.workers.child.prepare import prepare_image
from imgtag.workers.child.thumbnail import make_thumbnail

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from imgtag.workers.child.channel import Channel

_MAX_EXCESS = 1e-3
"""By how much a softmax in low precision may go over 1."""
_MIN_MAGNITUDE = 1e-30
"""A vector of smaller numbers points nowhere."""
_LOAD_HINT = "`imgtag -v label FILE` shows what it prints."


def build_classifier(order: Mapping[str, Any]) -> Classifier:
    """The classifier that a frame asks for. Raises ModelError, PluginError."""
    name = order["entry"]
    try:
        spec = import_entry(order["entry"])
        name = spec.name
        classifier: Classifier = load_factory(spec)(spec.settings.model_validate(order["settings"]))
        require_members(spec, classifier, Classifier)
    except ImgtagError:
        raise
    except Exception as error:
        raise PluginError(
            f"the classifier plugin {name!r} does not load: {describe(error)}", hint=_LOAD_HINT
        ) from error
    return classifier


def serve(channel: Channel) -> None:
    """Load models, classify images with them, make thumbnails, and prepare images for a server until the sidecar closes
    the socket.
    """
    held: dict[str, Classifier] = {}
    while (request := channel.receive()) is not None:
        header, body = request
        if "load" in header:
            answer = _load(held, header)
        elif "thumbnail" in header:
            answer = _make_thumbnail(header, body)
        elif "prepare" in header:
            answer = _prepare(header, body)
        elif "greet" in header:
            answer = {}
        else:
            answer = _answer(held[header["model"]], header, body)
        channel.send(answer)


def error_answer(error: ImgtagError) -> dict[str, Any]:
    """The answer from which the sidecar raises the error again."""
    name = next(base.__name__ for base in type(error).__mro__ if base.__module__ == "imgtag.errors")
    return {"error": {"type": name, "message": error.message, "hint": error.hint, "code": error.code}}


def quantize(vector: NDArray[np.float32]) -> bytes:
    """A vector as int8, its largest number 127; empty if all are zero. Measured as good as one scale for all images."""
    if vector.shape != (LENGTH,) or not np.isfinite(vector).all():
        raise ModelError(f"its vector does not have {LENGTH} finite numbers")
    values = np.rint(vector * (127 / max(float(np.abs(vector).max()), _MIN_MAGNITUDE))).astype(np.int8)
    return values.tobytes() if values.any() else b""


def _load(held: dict[str, Classifier], order: Mapping[str, Any]) -> dict[str, Any]:
    for key in order["drop"]:
        held.pop(key, None)
    try:
        classifier = held[order["load"]] = build_classifier(order)
    except ImgtagError as error:
        return error_answer(error)
    return {"info": asdict(classifier.info)}


def _answer(classifier: Classifier, request: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    try:
        start = time.perf_counter()
        decoded = decode(body, classifier.info.size, PictureLimits(**request["limits"]))
        between = time.perf_counter()
        (scores,) = classifier.classify([decoded.image])
        end = time.perf_counter()
        answer = {
            "raw": _best_classes(scores.probabilities, len(classifier.info.labels)).encode(),
            "facts": decoded.facts.encode(),
            "vec": "" if scores.vector is None else b64encode(quantize(scores.vector)).decode(),
            "decode": between - start,
            "infer": end - between,
        }
        if request.get("digest"):
            answer["digest"] = sha256(body).hexdigest()
        if request.get("all_probabilities"):
            answer["all_probabilities"] = b64encode(scores.probabilities.tobytes()).decode()
    except (Unreadable, Undecodable) as error:
        return error_answer(error)
    except MemoryError:
        return error_answer(Unreadable("classifying it takes more memory than worker_memory allows", code="memory"))
    except Exception as error:  # noqa: BLE001 - a stranger's classifier may raise anything
        return error_answer(Undecodable(f"the classifier failed on the image: {error}", code="classifier"))
    return answer


def _make_thumbnail(request: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    try:
        order = ThumbnailOrder(**request["thumbnail"])
        thumbnail = make_thumbnail(body, order, PictureLimits(**request["limits"]))
    except (Unreadable, Undecodable) as error:
        return error_answer(error)
    except MemoryError:
        return error_answer(Unreadable("a thumbnail of it takes more memory than worker_memory allows", code="memory"))
    except Exception as error:  # noqa: BLE001 - encoders raise anything as well
        return error_answer(Undecodable(f"no thumbnail can be made of the image: {describe(error)}"))
    size = {"width": thumbnail.width, "height": thumbnail.height}
    return {"thumbnail": {"data": b64encode(thumbnail.data).decode(), **size}}


def _prepare(request: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    try:
        start = time.perf_counter()
        order = request["prepare"] and ImageOrder(**request["prepare"])
        facts, prepared = prepare_image(body, order, PictureLimits(**request["limits"]))
        answer: dict[str, Any] = {"facts": facts.encode(), "decode": time.perf_counter() - start}
    except (Unreadable, Undecodable) as error:
        return error_answer(error)
    except MemoryError:
        return error_answer(Unreadable("decoding it takes more memory than worker_memory allows", code="memory"))
    except Exception as error:  # noqa: BLE001 - encoders raise anything as well
        return error_answer(Undecodable(f"the image cannot be encoded for the server: {describe(error)}"))
    if prepared is not None:
        answer["prepared"] = {**asdict(prepared), "data": b64encode(prepared.data).decode()}
    return answer


def _best_classes(probabilities: NDArray[np.float32], classes: int) -> Raw:
    if probabilities.shape != (classes,):
        raise ModelError(f"it returned {probabilities.size} probabilities for {classes} labels")
    # A NaN is in no range.
    if not np.logical_and(probabilities >= 0, probabilities <= 1 + _MAX_EXCESS).all():
        raise ModelError("it returned probabilities that are not between 0 and 1")
    # Stable: equal probabilities keep the order of their classes, on every machine.
    best = np.argsort(-probabilities, kind="stable")[:RAW_CLASSES]
    return Raw.best((int(number), min(1.0, float(probabilities[number]))) for number in best)
