"""Models as an admin puts them into a folder."""

from __future__ import annotations

from pathlib import Path


def put_model(path: Path, model: bytes, labels: str | None, manifest: str) -> Path:
    """Write a model file, with a manifest and, where `labels` is a text, a label file beside it."""
    path.write_bytes(model)
    if labels is not None:
        path.with_suffix(".txt").write_text(labels, encoding="utf-8")
        manifest = f'labels = "{path.stem}.txt"\n{manifest}'
    path.with_suffix(".toml").write_text(manifest, encoding="utf-8")
    return path
