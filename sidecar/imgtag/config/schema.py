"""Every setting of the sidecar itself, with its default and what it means.

The tables of plugins are described by the plugins' own settings; they stand beside these.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, SecretStr, field_validator, model_validator

from imgtag.errors import QueryError
from imgtag.flow.daily_hours import DailyHours
from imgtag.flow.listen import parse_listen
from imgtag.plugin.spec import Settings
from imgtag.query import parse
from imgtag.types.ref import Scope

_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_PERIOD = re.compile(r"(\d+) ?([smhdw])")
MIN_TOKEN = 16
"""Characters of a token, which others may guess at over the network."""
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


def parse_period(value: Any) -> Any:
    """``"30m"``, ``"12h"``, ``"1d"`` or ``"1w"`` as seconds; a number as it is. Raises ValueError."""
    if not isinstance(value, str) or value.strip().isdecimal():
        return value
    match = _PERIOD.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is no period: write, for example, 12h, 1d or 1w")
    return int(match[1]) * _PERIODS[match[2]]


def _check_query(text: str) -> str:
    try:
        parse(text)
    except QueryError as error:
        raise ValueError(f"{error.message}: {text!r}") from error
    return text


def _listen(text: str) -> str:
    if text:
        parse_listen(text)
    return text


def _hours(text: str) -> str:
    DailyHours.parse(text)
    return text


def _scope(text: str) -> str:
    Scope.parse(text)
    return text


def _token(token: SecretStr) -> SecretStr:
    if len(token.get_secret_value()) < MIN_TOKEN:
        raise ValueError(f"has fewer than {MIN_TOKEN} characters: `openssl rand -base64 24` makes a good one")
    return token


Period = Annotated[int, BeforeValidator(parse_period), Field(ge=60, le=366 * 86_400)]
"""Seconds; also written with a unit."""
Hours = Annotated[str, AfterValidator(_hours)]
ScopeText = Annotated[str, AfterValidator(_scope)]
Size = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
"""Bytes; also written with a unit."""
SizeOrNone = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
"""Bytes; 0 disables what they are for."""
MAY_BE_EMPTY = "may_be_empty"
"""In the annotation of a setting: empty has a meaning, so that a variable of the environment may be empty, too."""
Traces = Annotated[str, Field(pattern=r"^(https?://\S+)?$"), MAY_BE_EMPTY]
Listen = Annotated[str, AfterValidator(_listen), MAY_BE_EMPTY]
Token = Annotated[SecretStr, AfterValidator(_token)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)]
Glob = Annotated[str, Field(min_length=1)]
SavedQuery = Annotated[str, AfterValidator(_check_query)]
ModelName = Annotated[str, Field(min_length=1, max_length=4096)]
Kept = Literal["facts", "raw", "vec"]
Patterns = Annotated[tuple[Glob, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""One or several labels or globs over them."""
NewName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


class SiteSettings(Settings):
    """The identity of this installation."""

    name: Name = Field(
        default="local",
        description="Name of the site. It is part of every document's id and of every mark: after a change, all "
        "objects count as new.",
    )


class ObjectLabelSettings(Settings):
    """Which labels an object gets, and how they are written to it."""

    top_k: int = Field(default=5, ge=1, le=20, description="Maximum number of labels for one object.")
    threshold: float = Field(default=0.10, ge=0, le=1, description="Leave out labels with a lower probability.")
    allow: tuple[Glob, ...] = Field(
        default=(),
        description="If not empty, only these count: names of labels and ancestors, or globs such as `*dog`. An "
        'ancestor includes everything below it: ["animal", "plant"].',
    )
    deny: tuple[Glob, ...] = Field(
        default=(),
        description="Labels and ancestors that never count, including everything below them, as if the model had no "
        "such classes. Takes precedence over `allow`.",
    )
    defaults: bool = Field(
        default=True,
        description="Whether to apply the shipped label rules. They leave out labels that embarrass when they are "
        "wrong, such as `bikini`, and require a higher confidence for others.",
    )
    decimals: int = Field(
        default=2, ge=1, le=6, description="Decimals of the probabilities that are written to objects."
    )
    prefix: str = Field(
        default="imgtag_",
        pattern=r"^[a-z0-9][a-z0-9_-]*$",
        max_length=32,
        description="Prefix of the metadata entries for labels, in lower case.",
    )
    layout: Literal["names", "single"] = Field(
        default="names",
        description='"names": one metadata entry for each label. "single": all labels in the entry `imgtag-labels`, '
        "for proxies that drop header names with `_`, `+` or `%`.",
    )
    keep: tuple[Kept, ...] = Field(
        default=("facts", "raw", "vec"),
        description="What to write besides the labels: facts about the image, the raw scores, the vector for "
        "similarity. An index can be rebuilt from these entries without reading the images.",
    )


class LabelSettings(ObjectLabelSettings):
    """Which labels an object gets, and how they are written to it."""

    mark_key: SecretStr | None = Field(
        default=None,
        min_length=1,
        description="Secret that signs the marks on labelled objects, so that uploaders cannot forge them. It may "
        "contain several keys, one per line: the first one signs, all of them verify. Default: the file `mark_key` in "
        "the state folder, which `imgtag setup`, or for a folder the first start, creates; else the one among the "
        "credentials or beside the configuration.",
        examples=["a long random text"],
    )


class WritebackSettings(Settings):
    """How labels are written to objects."""

    strategy: Literal["auto", "put", "copy", "tags", "none"] = Field(
        default="auto",
        description='"auto" decides for each object. "put" uploads the bytes again on condition that they are '
        'unchanged. "copy" makes the store copy the object onto itself. "tags" writes each label as an object tag, '
        'in either layout. "none" writes nothing: only the index holds the labels.',
    )
    settle: float = Field(
        default=0, ge=0, le=3600, description="Seconds to wait before a write, for clients that tag after they upload."
    )


class DocumentSettings(Settings):
    """What the index stores about an object besides its labels."""

    metadata: tuple[str, ...] = Field(
        default=(), description="Names of user metadata to index, without `x-amz-meta-`, such as `license`."
    )
    gps: bool = Field(default=True, description="Whether to store where an image was taken.")
    exif: bool = Field(default=True, description="Whether to store when and with which camera an image was taken.")


class LimitSettings(Settings):
    """Limits for one object; imgtag refuses an object beyond them."""

    max_bytes: Size = Field(default=64 * 1024**2, description="Size of the largest object that imgtag reads.")
    max_pixels: int = Field(
        default=100_000_000,
        gt=0,
        description="Pixels of the largest image that imgtag decodes; a JPEG decoded at reduced size may have four"
        " times as many. WebP, AVIF and HEIC take more memory, so `worker_memory` limits them to fewer; `imgtag config"
        " check` prints the numbers.",
    )
    max_seconds: float = Field(
        default=30,
        gt=0,
        le=3600,
        description="Seconds that decoding and classifying one image may take. Time in which a busy machine gives the"
        " worker no core does not count, up to ten times as long.",
    )


class PipelineSettings(LimitSettings):
    """How much work is done at a time."""

    workers: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Number of processes that decode and classify. Default: one per core, fewer under a CPU quota or "
        "where memory would not hold `worker_memory` for each. `imgtag config check` shows the number.",
        examples=[4],
    )
    concurrency: int = Field(default=48, ge=1, le=4096, description="Number of objects in progress at a time.")
    max_frames: int = Field(
        default=10_000,
        ge=1,
        description="Maximum number of frames in an animation. imgtag labels only the first frame that is not blank.",
    )
    worker_memory: Size = Field(default=768 * 1024**2, description="Memory that one worker may use.")
    require_confinement: bool = Field(
        default=False,
        description="Start no worker that Landlock and seccomp do not confine: where the kernel lacks one of them, "
        "`run` ends with exit code 78. Otherwise that is a warning.",
    )
    bytes_in_flight: Size = Field(default=128 * 1024**2, description="Bytes of all objects in memory at a time.")
    retry_first: float = Field(
        default=1, gt=0, le=3600, description="Seconds before the first retry; doubled for each further one."
    )
    retry_max: float = Field(default=300, gt=0, le=86_400, description="Maximum number of seconds between retries.")
    drain: float = Field(
        default=25, gt=0, le=3600, description="Seconds to finish work in progress when the sidecar stops."
    )
    batch: int = Field(
        default=100, ge=1, le=10_000, description="Maximum number of changes in one request to the index."
    )
    batch_wait: float = Field(
        default=1,
        ge=0,
        le=10,
        description="Maximum number of seconds that a change waits for others before it is indexed. It waits only "
        "while the workers have more than enough to do.",
    )


class AuditSettings(Settings):
    """Audits by `imgtag run` itself: one sidecar of a site compares store, labels and index."""

    every: Period | None = Field(
        default=None,
        description='How often to audit everything, such as "12h", "1d" or "1w"; at the first start, at once. Without '
        "it, `run` never audits: that lists all buckets, and needs a stream of its own in NATS.",
        examples=["1d"],
    )
    hours: Hours | None = Field(
        default=None,
        description="Hours of the day, in local time, in which an audit may begin and go on.",
        examples=["22:00-06:00"],
    )
    repair: bool = Field(
        default=False,
        description="Whether to mend what is found. Nothing is mended where that would delete more than 5 % of the "
        "documents.",
    )


class BackfillSettings(Settings):
    """Backfills that a new S3 Inventory starts, once each: by `imgtag run` itself, or by `imgtag backfill --new`."""

    inventory: ScopeText | None = Field(
        default=None,
        description="BUCKET/PREFIX where the store writes the inventories of one bucket.",
        examples=["inventories/pictures/daily/"],
    )
    every: Period | None = Field(
        default=None,
        description='How often `run` looks for a new inventory there, such as "1h". Without it, `run` never does.',
        examples=["1h"],
    )
    hours: Hours | None = Field(
        default=None,
        description="Hours of the day, in local time, in which such a backfill of `run` may begin and go on.",
        examples=["22:00-06:00"],
    )

    @model_validator(mode="after")
    def _has_a_place(self) -> BackfillSettings:
        if self.every and not self.inventory:
            raise ValueError("has `every` without `inventory`: name the BUCKET/PREFIX to look at")
        return self


class StateSettings(Settings):
    """Where the sidecar stores files that must outlive it."""

    dir: Path | None = Field(
        default=None,
        description="Default: $STATE_DIRECTORY, otherwise /var/lib/imgtag as root, otherwise $XDG_STATE_HOME/imgtag.",
        examples=["/var/lib/imgtag"],
    )


class ModelFolderSettings(Settings):
    """Models besides the one that comes with the classifier."""

    dir: Path | None = Field(
        default=None,
        description="Folder of models, which `imgtag models` manages and a running sidecar watches. Default: "
        "`models` in the state folder.",
        examples=["/var/lib/imgtag/models"],
    )
    max_models: int = Field(
        default=2,
        ge=1,
        le=16,
        description="Models that each worker keeps loaded if rules name several; it unloads the least recently used "
        "one.",
    )
    catalogue: Path | None = Field(
        default=None,
        description="File with more models for `imgtag models add NAME`, besides the built-in catalogue.",
        examples=["/etc/imgtag/catalogue.toml"],
    )


class PluginFolderSettings(Settings):
    """Plugins that are not installed as packages."""

    dir: Path | None = Field(
        default=None,
        description="Folder with drop-in plugins: `*.py` files and packages. A relative path starts at the working "
        "directory. By default, imgtag looks for none.",
        examples=["/etc/imgtag/plugins"],
    )


class OpsSettings(Settings):
    """Health, metrics, logs and traces."""

    listen: Listen = Field(
        default="127.0.0.1:9464",
        description="HOST:PORT for health (/livez, /readyz), /metrics and /status; empty to disable them.",
    )
    traces: Traces = Field(
        default="",
        description="URL of an OpenTelemetry collector (OTLP over HTTP) that receives a trace for each object; empty "
        "to disable traces. Needs the extra `otel`. Traces contain bucket and key.",
        examples=["http://127.0.0.1:4318"],
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description='"auto": readable text on a terminal, otherwise JSON lines.'
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The lowest level that is logged."
    )


class WebSettings(Settings):
    """The search page and the HTTP API."""

    listen: Listen = Field(
        default="",
        description="HOST:PORT of the search page and the HTTP API; empty to disable them. An address other than "
        "loopback needs a `token`. The listener speaks HTTP without TLS: put a reverse proxy in front of it.",
        examples=["127.0.0.1:8080"],
    )
    token: Token | None = Field(
        default=None,
        description="Secret that a client must present: the page asks for it once, programs send it as a bearer token. "
        "At least 16 characters. Without it, everybody who can log in on this machine can search.",
        examples=["a long random text"],
    )
    buckets: tuple[str, ...] = Field(
        default=(),
        description="Buckets of this site that can be searched and shown. Nothing that the API returns depends on "
        "others: no hit, count or suggestion. Default: everything that is in the index.",
        examples=[["photos"]],
    )
    hosts: tuple[str, ...] = Field(
        default=(),
        description="Public host names under which clients reach the listener, without a port. Names that a web "
        "page could have made point here are refused; addresses and local names always work.",
        examples=[["photos.example.com"]],
    )
    proxies: tuple[IPvAnyNetwork, ...] = Field(
        default=(),
        description="Addresses or networks of reverse proxies. Limits for each client then count by the address that "
        "they give in `X-Forwarded-For`; otherwise all clients of a proxy share them.",
        examples=[["127.0.0.1"]],
    )
    thumbnail_cache: SizeOrNone = Field(
        default=1024**3,
        description="Size of the thumbnails that are kept on disk, in the state folder; 0 keeps none. The least "
        "recently used ones go first.",
    )


class RuleSettings(Settings):
    """A part of the store to label. The first rule that matches an object applies.

    In `labels`, `writeback` and `limits`, set only what differs from the general sections.
    """

    bucket: str = Field(
        min_length=1,
        description="Name of the bucket. imgtag never touches a bucket that no rule names.",
        examples=["pictures"],
    )
    include: tuple[Glob, ...] = Field(
        default=("**",),
        min_length=1,
        description="Keys to label, as globs: `*` stops at `/`, `**` does not, `?` matches one character.",
    )
    exclude: tuple[Glob, ...] = Field(default=(), description="Included keys to leave out.")
    labels: ObjectLabelSettings = Field(
        default=ObjectLabelSettings(), description="Settings of [labels] for these objects.", examples=[{"top_k": 3}]
    )
    writeback: WritebackSettings = Field(
        default=WritebackSettings(),
        description="Settings of [writeback] for these objects.",
        examples=[{"strategy": "none"}],
    )
    limits: LimitSettings = Field(
        default=LimitSettings(),
        description="Limits of [pipeline] for these objects: max_bytes, max_pixels, max_seconds.",
        examples=[{"max_bytes": "16 MiB"}],
    )
    model: ModelName | None = Field(
        default=None,
        description="The model for these objects, as in [classifier.tflite]: a name from `imgtag models list`, or a "
        "path.",
        examples=["birds"],
    )
    shadow: ModelName | None = Field(
        default=None,
        description="A second model that only reports, in metrics, how it would label new images. It takes as much "
        "time as the first one.",
        examples=["birds"],
    )


class LabelRuleSettings(Settings):
    """Changes some labels of the model. If several rules match a label, the first that sets a property decides it.

    Rules also apply to ancestors, except `category` and `priority`.
    """

    label: Patterns = Field(
        min_length=1,
        description="Labels of the model, in lower case, or globs: a name or a list of names.",
        examples=[["tabby", "*cat"]],
    )
    rename: NewName | None = Field(
        default=None,
        description="The new name, used everywhere. The old name still finds the label.",
        examples=["house cat"],
    )
    merge: NewName | None = Field(
        default=None,
        description="The one label that replaces all of these; its probability is their sum.",
        examples=["cat"],
    )
    drop: bool | None = Field(
        default=None,
        description="Never use the label. It still counts for its ancestors; `deny` in [labels] stops that too.",
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Replaces `threshold` in [labels], or the 0.30 of an ancestor.",
        examples=[0.5],
    )
    category: NewName | None = Field(
        default=None, description="The category of images whose best label this is.", examples=["pet"]
    )
    priority: int | None = Field(
        default=None,
        ge=-100,
        le=100,
        description="Labels with a higher priority come first among `top_k`, and are the last to go when an object "
        "has little room for metadata. Default: 0.",
        examples=[10],
    )

    @model_validator(mode="after")
    def _says_something(self) -> LabelRuleSettings:
        if self.model_fields_set <= {"label"}:
            raise ValueError("does nothing: give rename, merge, drop, threshold, category or priority")
        if self.rename and self.merge:
            raise ValueError("has both rename and merge: labels that are merged take the name of `merge`")
        return self


class SearchSettings(Settings):
    """A search that imgtag repeats every minute: a metric says how many objects it finds."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$",
        description="Name of the search, for `imgtag search --saved` and in the metric `imgtag_search_objects`.",
        examples=["weapons"],
    )
    query: SavedQuery = Field(
        description="What is searched for, as in `imgtag search`.", examples=["rifle OR revolver confidence>0.5"]
    )


class CoreSettings(Settings):
    """All sections of the sidecar itself."""

    site: SiteSettings = SiteSettings()
    labels: LabelSettings = LabelSettings()
    writeback: WritebackSettings = WritebackSettings()
    document: DocumentSettings = DocumentSettings()
    pipeline: PipelineSettings = PipelineSettings()
    models: ModelFolderSettings = ModelFolderSettings()
    audit: AuditSettings = AuditSettings()
    backfill: BackfillSettings = BackfillSettings()
    state: StateSettings = StateSettings()
    plugins: PluginFolderSettings = PluginFolderSettings()
    ops: OpsSettings = OpsSettings()
    web: WebSettings = WebSettings()
    rules: tuple[RuleSettings, ...] = ()
    label_rules: tuple[LabelRuleSettings, ...] = ()
    searches: tuple[SearchSettings, ...] = ()

    @field_validator("searches")
    @classmethod
    def _has_one_of_a_name(cls, searches: tuple[SearchSettings, ...]) -> tuple[SearchSettings, ...]:
        names = [search.name for search in searches]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"several have the name {doubled[0]!r}")
        return searches
