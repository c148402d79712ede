"""What Rekognition answers, as detections.

https://docs.aws.amazon.com/rekognition/latest/APIReference/API_Label.html
https://docs.aws.amazon.com/rekognition/latest/APIReference/API_ModerationLabel.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imgtag.plugin import Box, Detection
from imgtag_rekognition.service import invalid_answer

MODERATION = "Moderation"
"""The ancestor, and the category, of every moderation label."""
_PERCENT = 100


def read_labels(answer: Mapping[str, Any], *, boxes: bool) -> list[Detection]:
    """The labels of an answer to DetectLabels. Raises Unavailable for what is none."""
    try:
        labels = {str(label["Name"]): label for label in answer["Labels"]}
        return [
            Detection(
                name=name,
                confidence=label["Confidence"] / _PERCENT,
                parents=_order_parents(label, labels),
                synonyms=tuple(alias["Name"] for alias in label.get("Aliases", ())),
                category=next((category["Name"] for category in label.get("Categories", ())), None),
                boxes=tuple(_read_box(instance) for instance in label.get("Instances", ())) if boxes else (),
            )
            for name, label in labels.items()
        ]
    except (AttributeError, LookupError, TypeError) as error:
        raise invalid_answer("DetectLabels") from error


def read_moderation(answer: Mapping[str, Any]) -> list[Detection]:
    """The labels of an answer to DetectModerationLabels. Raises Unavailable for what is none."""
    try:
        parents = {str(label["Name"]): str(label.get("ParentName") or "") for label in answer["ModerationLabels"]}
        return [
            Detection(
                name=label["Name"],
                confidence=label["Confidence"] / _PERCENT,
                parents=(*_climb(label["Name"], parents), MODERATION),
                category=MODERATION,
            )
            for label in answer["ModerationLabels"]
        ]
    except (AttributeError, LookupError, TypeError) as error:
        raise invalid_answer("DetectModerationLabels") from error


def read_version(answer: Mapping[str, Any], name: str) -> str:
    """The version of the model that answered; empty where the answer does not say it."""
    version = answer.get(name)
    return version[:20] if isinstance(version, str) else ""


def _order_parents(label: Mapping[str, Any], labels: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """From the specific to the general: AWS names all ancestors in no order, and each is a label with its own."""
    names = [parent["Name"] for parent in label.get("Parents", ())]
    return tuple(sorted(names, key=lambda name: -len(labels.get(name, {}).get("Parents", ()))))


def _climb(name: str, parents: Mapping[str, str]) -> Sequence[str]:
    line: list[str] = []
    while (parent := parents.get(name, "")) and parent not in line:
        line.append(parent)
        name = parent
    return line


def _read_box(instance: Mapping[str, Any]) -> Box:
    box = instance["BoundingBox"]
    return Box(float(box["Left"]), float(box["Top"]), float(box["Width"]), float(box["Height"]))
