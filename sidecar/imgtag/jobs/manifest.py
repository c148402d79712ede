"""A dataset as a file that others read: JSON lines, CSV, Parquet, COCO, and what Rekognition and SageMaker take."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from imgtag.errors import ConfigError
from imgtag.files.csv_cells import encode_row
from imgtag.jobs.dataset import Member


def class_names(members: Sequence[Member]) -> list[str]:
    """The labels of a dataset in alphabetical order; the place of one is its number."""
    return sorted({member.label for member in members})


def render_jsonl(members: Sequence[Member]) -> Iterator[bytes]:
    """A line for each image: where it is, its label, and what else the index knows."""
    for row in map(_row, members):
        yield json.dumps(row).encode() + b"\n"


def render_csv(members: Sequence[Member]) -> Iterator[bytes]:
    """As `render_jsonl`, with all labels in one column: ``red_fox=0.90 dog=0.12``.

    A cell that a spreadsheet would execute begins with an apostrophe, see `imgtag.files.csv_cells`.
    """
    rows = [{**row, "labels": _join(row["labels"])} for row in map(_row, members)]
    for values in (_COLUMNS, *([row[name] for name in _COLUMNS] for row in rows)):
        yield encode_row(values).encode("utf-8", "surrogateescape")


def render_parquet(members: Sequence[Member]) -> Iterator[bytes]:
    """As `render_csv`. Raises ConfigError without pyarrow."""
    try:
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        hint = "pip install 'imgtag-sidecar[inventory]', or choose another --format."
        raise ConfigError("Parquet needs pyarrow, which is not installed", hint=hint) from error
    rows = [{**row, "labels": _join(row["labels"])} for row in map(_row, members)]
    texts = ("location", "bucket", "key", "label", "labels", "type", "etag")
    columns: dict[str, Any] = {
        name: pa.array(
            [row[name] for row in rows],
            pa.string() if name in texts else pa.float64() if name == "confidence" else pa.int64(),
        )
        for name in _COLUMNS
    }
    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    yield file.getvalue()


def render_coco(members: Sequence[Member]) -> Iterator[bytes]:
    """COCO annotations of whole images: https://cocodataset.org/#format-data. A box is the whole image."""
    names = class_names(members)
    numbers = {name: number for number, name in enumerate(names, 1)}
    images, annotations = [], []
    for number, member in enumerate(members, 1):
        document = member.document
        width, height = document.get("width", 0), document.get("height", 0)
        url = f"s3://{member.ref}"
        images.append({"id": number, "file_name": str(member.ref), "width": width, "height": height, "coco_url": url})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": numbers[member.label],
                "bbox": [0, 0, width, height],
                "area": width * height,
                "iscrowd": 0,
                "score": member.confidence,
            }
        )
    categories = [{"id": number, "name": name, "supercategory": ""} for name, number in numbers.items()]
    whole = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    yield json.dumps(whole).encode() + b"\n"


def render_rekognition(members: Sequence[Member]) -> Iterator[bytes]:
    """JSON lines with image-level labels, for Rekognition Custom Labels and SageMaker Ground Truth.

    https://docs.aws.amazon.com/rekognition/latest/customlabels-dg/md-create-manifest-file-classification.html
    """
    numbers = {name: number for number, name in enumerate(class_names(members))}
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    for member in members:
        name = f"imgtag_{numbers[member.label]}"
        metadata = {
            "confidence": member.confidence,
            "job-name": "imgtag",
            "class-name": member.label,
            "human-annotated": "no",
            "creation-date": at,
            "type": "groundtruth/image-classification",
        }
        yield json.dumps({"source-ref": f"s3://{member.ref}", name: 1, f"{name}-metadata": metadata}).encode() + b"\n"


FORMATS: Mapping[str, Callable[[Sequence[Member]], Iterator[bytes]]] = {
    "jsonl": render_jsonl,
    "csv": render_csv,
    "parquet": render_parquet,
    "coco": render_coco,
    "rekognition": render_rekognition,
}
_COLUMNS = (
    "location", "bucket", "key", "label", "confidence", "labels", "width", "height", "size", "type", "when", "etag",
)  # fmt: skip


def _row(member: Member) -> dict[str, Any]:
    document = member.document
    scores = document.get("scores", {})
    return {
        **{name: document.get(name) for name in _COLUMNS},
        "location": f"s3://{member.ref}",
        "label": member.label,
        "confidence": member.confidence,
        "labels": {label: scores[label] for label in document.get("labels", ()) if label in scores},
    }


def _join(labels: Mapping[str, float]) -> str:
    return " ".join(f"{name.replace(' ', '_')}={value:.2f}" for name, value in labels.items())
