"""Every setting of the sidecar itself, with its default and what it means.

The tables of plugins are described by the plugins' own settings; they stand beside these.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from imgtag.plugin.spec import Settings

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([kMGT])(i?)B?|B)?", re.IGNORECASE)


def parse_size(value: Any) -> Any:
    """``"64 MiB"``, ``"64Mi"``, ``"1.5 GB"`` or a number, as bytes; anything else as it is."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return value
    number, unit, binary = match.groups()
    power = " kmgt".index((unit or " ").lower())
    factor = (1024 if binary else 1000) ** power
    return int(number) * factor if number.isdecimal() else round(float(number) * factor)


def format_size(size: int) -> str:
    """A size as `parse_size` reads it, in the largest binary unit that leaves no fraction."""
    units = iter(("", " KiB", " MiB", " GiB", " TiB"))
    unit = next(units)
    while size and size % 1024 == 0 and unit != " TiB":
        size, unit = size // 1024, next(units)
    return f"{size}{unit}"


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of ``127.0.0.1:9464``, ``[::1]:9464`` or ``:9464`` (every address). Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError("write HOST:PORT, such as 127.0.0.1:9464")
    bare = host.removeprefix("[").removesuffix("]")
    if ":" in bare and bare == host:
        raise ValueError("an IPv6 address stands in brackets, such as [::1]:9464")
    return bare, int(port)


def _listen(text: str) -> str:
    if text:
        parse_listen(text)
    return text


Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
"""Bytes; also written with a unit."""
Traces = Annotated[str, Field(pattern=r"^(https?://\S+)?$")]
Listen = Annotated[str, AfterValidator(_listen)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
Glob = Annotated[str, Field(min_length=1)]
ModelName = Annotated[str, Field(min_length=1, max_length=4096)]
Kept = Literal["facts", "raw", "vec"]
DisplayNames = Annotated[tuple[Glob, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One or several labels or globs over them."""
NewName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


class Site(Settings):
    """The installation that this is."""

    name: Name = Field(
        default="local",
        description="Name of the site. It is part of every document's id and of every mark on an object: "
        "a changed name makes all objects new.",
    )


class LabelShape(Settings):
    """Which labels an object gets, and how they are written on it."""

    top_k: int = Field(default=5, ge=1, le=20, description="At most so many labels on one object.")
    threshold: float = Field(default=0.10, ge=0, le=1, description="Labels of a lower probability are left out.")
    allow: tuple[Glob, ...] = Field(
        default=(),
        description="Where not empty, nothing else counts: labels and ancestors by name, or globs such as `*dog`. "
        'An ancestor stands for all under it: ["animal", "plant"].',
    )
    deny: tuple[Glob, ...] = Field(
        default=(),
        description="Labels and ancestors that count for nothing, with all under them, as if the model had no such "
        "classes. It goes before `allow`.",
    )
    defaults: bool = Field(
        default=True,
        description="Whether the shipped label rules hold: they leave out labels that embarrass where they are wrong, "
        "such as `bikini`, and want others to be surer.",
    )
    decimals: int = Field(default=2, ge=1, le=6, description="Decimals of the probabilities written on objects.")
    prefix: str = Field(
        default="imgtag_",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        max_length=32,
        description="What the name of a label's metadata entry begins with, lower case.",
    )
    layout: Literal["names", "single"] = Field(
        default="names",
        description='"names": one metadata entry for each label. "single": all in the one entry `imgtag-labels`, '
        "for proxies that drop header names with `_`, `+` or `%`.",
    )
    keep: tuple[Kept, ...] = Field(
        default=("facts", "raw", "vec"),
        description="What is written beside the labels: facts of the picture, the raw scores, the vector for "
        "similarity. An index can be rebuilt without reading pictures from what is kept here.",
    )


class Labels(LabelShape):
    """Which labels an object gets, and how they are written on it."""

    mark_key: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="Secret that signs the mark on labelled objects, so that an uploader cannot forge it.",
        examples=["a long random text"],
    )


class Writeback(Settings):
    """How labels are written on objects."""

    strategy: Literal["auto", "put", "copy", "tags", "none"] = Field(
        default="auto",
        description='"auto" decides for each object. "put" sends the bytes again on condition that they are still the '
        'same, "copy" lets the store copy the object onto itself, "tags" writes each label as an object tag, '
        'in either layout, "none" writes nothing: '
        "the index alone has the labels.",
    )
    settle: float = Field(
        default=0, ge=0, le=3600, description="Seconds to wait before writing, for clients that tag after they upload."
    )


class Document(Settings):
    """What the index gets of an object besides its labels."""

    metadata: tuple[str, ...] = Field(
        default=(), description="Names of user metadata to index, without `x-amz-meta-`, such as `license`."
    )
    gps: bool = Field(default=True, description="Where a picture was taken.")
    exif: bool = Field(default=True, description="When and with which camera a picture was taken.")


class Limits(Settings):
    """What an object may cost; beyond it the object is refused."""

    max_bytes: Size = Field(default=64 * 1024**2, description="The largest object that is read.")
    max_pixels: int = Field(default=100_000_000, gt=0, description="The largest picture that is decoded.")
    max_seconds: float = Field(
        default=30, gt=0, le=3600, description="Seconds that one picture may take to decode and classify."
    )


class Pipeline(Limits):
    """How much is done at a time."""

    workers: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Processes that decode and classify. Default: one for each core.",
        examples=[4],
    )
    concurrency: int = Field(default=32, ge=1, le=4096, description="Objects that are worked on at a time.")
    max_frames: int = Field(
        default=10_000,
        ge=1,
        description="Frames that the header of an animation may announce; only the first is ever decoded.",
    )
    worker_memory: Size = Field(default=768 * 1024**2, description="Memory that one worker may use.")
    bytes_in_flight: Size = Field(
        default=128 * 1024**2, description="Bytes of all objects that are in memory at a time."
    )
    retry_first: float = Field(
        default=1, gt=0, le=3600, description="Seconds before a first retry; doubled for each further."
    )
    retry_max: float = Field(default=300, gt=0, le=86_400, description="Seconds between retries at most.")
    drain: float = Field(
        default=25, gt=0, le=3600, description="Seconds to finish what was begun when the sidecar is told to stop."
    )
    batch: int = Field(default=100, ge=1, le=10_000, description="Changes that the index is given at a time.")
    batch_wait: float = Field(
        default=0.05,
        ge=0,
        le=10,
        description="Seconds that a change waits for others to be indexed with; half of it before the index is asked.",
    )


class State(Settings):
    """Where the sidecar keeps what must outlive it."""

    dir: Path | None = Field(
        default=None,
        description="Default: $STATE_DIRECTORY, else /var/lib/imgtag as root, else $XDG_STATE_HOME/imgtag.",
        examples=["/var/lib/imgtag"],
    )


class Models(Settings):
    """Where models are kept, besides the one that comes with the classifier."""

    dir: Path | None = Field(
        default=None,
        description="Folder of models, which `imgtag models` fills and a running sidecar watches. Default: `models` in "
        "the state folder.",
        examples=["/var/lib/imgtag/models"],
    )
    max_models: int = Field(
        default=2,
        ge=1,
        le=16,
        description="Models that each worker keeps loaded, where rules name several; that used longest ago gives way.",
    )
    catalogue: Path | None = Field(
        default=None,
        description="File that lists models for `imgtag models add NAME`, besides the well-known ones.",
        examples=["/etc/imgtag/catalogue.toml"],
    )


class Plugins(Settings):
    """Plugins that are not installed packages."""

    dir: Path | None = Field(
        default=None,
        description="Folder of drop-in plugins: `*.py` files and packages. Without it none are looked for.",
        examples=["/etc/imgtag/plugins"],
    )


class Ops(Settings):
    """What operators see."""

    listen: Listen = Field(
        default="127.0.0.1:9464", description="HOST:PORT of health (/livez, /readyz) and /metrics; empty for none."
    )
    traces: Traces = Field(
        default="",
        description="URL of an OpenTelemetry collector (OTLP over HTTP) that is sent a trace of each object; empty for "
        "none. Needs the extra `otel`. Traces hold bucket and key.",
        examples=["http://127.0.0.1:4318"],
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description='"auto": for people on a terminal, JSON lines otherwise.'
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The least severe messages that are logged."
    )


class Rule(Settings):
    """A part of the store that is labelled. The first rule that matches an object holds.

    In `labels`, `writeback` and `limits` only what differs from the general sections is given.
    """

    bucket: str = Field(
        min_length=1, description="The bucket; one that no rule names is never touched.", examples=["pictures"]
    )
    include: tuple[Glob, ...] = Field(
        default=("**",),
        min_length=1,
        description="Keys that are labelled: `*` stops at `/`, `**` does not, `?` is one character.",
    )
    exclude: tuple[Glob, ...] = Field(default=(), description="Keys that are left out of what is included.")
    labels: LabelShape = Field(
        default=LabelShape(), description="Settings of [labels] for these objects.", examples=[{"top_k": 3}]
    )
    writeback: Writeback = Field(
        default=Writeback(),
        description="Settings of [writeback] for these objects.",
        examples=[{"strategy": "none"}],
    )
    limits: Limits = Field(
        default=Limits(),
        description="Limits of [pipeline] for these objects: max_bytes, max_pixels, max_seconds.",
        examples=[{"max_bytes": "16 MiB"}],
    )
    model: ModelName | None = Field(
        default=None,
        description="The model for these objects, as in [classifier.tflite]: a name that `imgtag models list` has, or "
        "a path.",
        examples=["birds"],
    )
    shadow: ModelName | None = Field(
        default=None,
        description="A second model that only reports, in metrics, what it would have said of new pictures; it costs "
        "as much time as the first.",
        examples=["birds"],
    )


class LabelRule(Settings):
    """What is done with some labels of the model. Of several rules for a label the first that says a thing decides it.

    All rules also hold for ancestors, but for `category` and `priority`.
    """

    label: DisplayNames = Field(
        min_length=1,
        description="Labels as the model knows them, in lower case, or globs over them: a name or a list of names.",
        examples=[["tabby", "*cat"]],
    )
    rename: NewName | None = Field(
        default=None,
        description="What it is called instead, everywhere. The old name still finds it.",
        examples=["house cat"],
    )
    merge: NewName | None = Field(
        default=None,
        description="The one label that all of these become; their probabilities are summed.",
        examples=["cat"],
    )
    drop: bool | None = Field(
        default=None, description="Never said. It still counts for its ancestors; `deny` of [labels] ends that too."
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="In place of `threshold` of [labels], and of the 0.30 of an ancestor.",
        examples=[0.5],
    )
    category: NewName | None = Field(
        default=None, description="The category of pictures whose best label this is.", examples=["pet"]
    )
    priority: int | None = Field(
        default=None,
        ge=-100,
        le=100,
        description="Labels of higher priority are the first of `top_k`, and the last to go where an object has little "
        "room for metadata. Default: 0.",
        examples=[10],
    )

    @model_validator(mode="after")
    def _says_something(self) -> LabelRule:
        if self.model_fields_set <= {"label"}:
            raise ValueError("does nothing: give rename, merge, drop, threshold, category or priority")
        if self.rename and self.merge:
            raise ValueError("has both rename and merge: labels that are merged take the name of `merge`")
        return self


class Core(Settings):
    """All sections that are the sidecar's own."""

    site: Site = Site()
    labels: Labels = Labels()
    writeback: Writeback = Writeback()
    document: Document = Document()
    pipeline: Pipeline = Pipeline()
    models: Models = Models()
    state: State = State()
    plugins: Plugins = Plugins()
    ops: Ops = Ops()
    rules: tuple[Rule, ...] = ()
    label_rules: tuple[LabelRule, ...] = ()
