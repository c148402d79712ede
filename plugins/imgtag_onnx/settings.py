"""The table `[classifier.onnx]`."""

from __future__ import annotations

from pydantic import Field

from imgtag.plugin.spec import Settings


class OnnxSettings(Settings):
    """Which model classifies. Its manifest says how pictures are passed to it, and what its classes are called."""

    model: str = Field(
        min_length=1,
        description="A name that `imgtag models list` shows, or the path of an .onnx file or of its manifest.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=64,
        description="Threads per inference. There is one worker per core, so more than 1 rarely helps.",
    )
    providers: tuple[str, ...] = Field(
        default=("CPUExecutionProvider",),
        min_length=1,
        description="Execution providers of ONNX Runtime, the preferred one first. Others than the CPU's need a build "
        "of ONNX Runtime that has them; the sandbox of the workers may keep them from their devices.",
    )
