"""Problems of a configuration whose values are each valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from imgtag.config.configuration import Config
from imgtag.config.findings import Finding, InvalidConfig
from imgtag.config.globs import compile_glob
from imgtag.config.policy import takes_everything
from imgtag.config.schema import PipelineSettings
from imgtag.files.ownership import is_readable_by_all
from imgtag.flow.listen import is_loopback, parse_listen
from imgtag.plugin.spec import KINDS
from imgtag.types.image_formats import FORMATS, JPEG, PNG, RAW, Support
from imgtag.types.picture_limits import WORKER_OVERHEAD

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_OWN_ENTRIES = ("imgtag-mark", "imgtag-facts", "imgtag-raw", "imgtag-vec", "imgtag-labels")


def check(config: Config) -> Iterator[Finding]:
    """Findings that concern every command."""
    for key, labels in _everywhere(config, "labels"):
        hidden = [name for name in _OWN_ENTRIES if name.startswith(labels.prefix)]
        if hidden:
            yield config.origins.finding(
                f"{key}.prefix", f"a label could be mistaken for the sidecar's own entry `{hidden[0]}`"
            )
    yield from _sizes(config)
    if config.pipeline.retry_first > config.pipeline.retry_max:
        yield config.origins.finding("pipeline.retry_first", "exceeds retry_max")
    yield from _writeback(config)
    folder = config.plugins.dir
    if folder is not None and not folder.is_dir():
        yield config.origins.finding("plugins.dir", f"there is no folder {folder}")
    yield from _models(config)
    yield from _web(config)
    for place in range(len(config.rules)):
        yield from _rule(config, place)


def check_run(config: Config) -> Iterator[Finding]:
    """Findings that concern commands that work on a store."""
    yield from (config.missing(kind) for kind in KINDS if config.selected(kind) is None)
    if config.store and not config.rules and not takes_everything(config):
        yield config.origins.finding(
            "rules",
            f"there are no rules, so nothing in [store.{config.store.name}] is labelled: write [[rules]] "
            'with bucket = "NAME" for each bucket to label',
        )


def readable_secrets(config: Config) -> Iterator[str]:
    """A warning for each secret file that every user of the machine may read."""
    for path in config.secret_files:
        with suppress(OSError):
            if is_readable_by_all(path):
                yield f"{path} holds a secret, and every user may read it: chmod o-r {path}"


def largest_images(pipeline: PipelineSettings) -> dict[str, int]:
    """Pixels of the largest image by format, in a file of ``max_bytes``: what its decoder needs may be the limit.

    A JPEG is missing: it takes next to nothing, unless it is progressive.
    """
    room = pipeline.worker_memory - WORKER_OVERHEAD - pipeline.max_bytes
    return {
        image_format.name: min(pipeline.max_pixels, room // image_format.memory)
        for image_format in FORMATS
        if image_format.support in {Support.DECODED, Support.EXTRA} and image_format not in {JPEG, RAW}
    }


def require_run(config: Config) -> None:
    """Raise InvalidConfig with the findings of `check_run`, if there are any."""
    if findings := list(check_run(config)):
        raise InvalidConfig(findings)


def _everywhere(config: Config, section: str) -> Iterator[tuple[str, Any]]:
    """A general section and its counterparts in the rules, with their keys."""
    yield section, getattr(config, section)
    for place, rule in enumerate(config.rules):
        yield f"rules[{place}].{section}", getattr(rule, section)


def _sizes(config: Config) -> Iterator[Finding]:
    room, memory = config.pipeline.bytes_in_flight, config.pipeline.worker_memory
    sizes = {"pipeline": (config.pipeline.max_bytes, config.pipeline.max_pixels)}
    for place, rule in enumerate(config.rules):
        if rule.limits.model_fields_set & {"max_bytes", "max_pixels"}:
            own = {**config.pipeline.model_dump(), **rule.limits.model_dump(exclude_unset=True)}
            sizes[f"rules[{place}].limits"] = own["max_bytes"], own["max_pixels"]
    # Formats whose decoders take more than a PNG's have a lower limit: docs/reference/formats.md.
    for key, (size, pixels) in sizes.items():
        if size > room:
            yield config.origins.finding(f"{key}.max_bytes", f"exceeds bytes_in_flight, which is {room}")
        elif size + pixels * PNG.memory + WORKER_OVERHEAD > memory:
            yield config.origins.finding(f"{key}.max_pixels", "an image of this size does not fit into worker_memory")


def _writeback(config: Config) -> Iterator[Finding]:
    """Strategies are ways of the S3 protocol; a folder has only one way to write."""
    if config.store is None or config.store.name != "directory":
        return
    for key, writeback in _everywhere(config, "writeback"):
        if writeback.strategy not in {"auto", "none"}:
            yield config.origins.finding(
                f"{key}.strategy", f'"{writeback.strategy}" is for S3; [store.directory] supports "auto" and "none"'
            )


def _models(config: Config) -> Iterator[Finding]:
    """Whether a named model exists is checked on use, because `imgtag models add` needs a configuration, too."""
    named = [
        (f"rules[{n}].{key}", getattr(rule, key)) for n, rule in enumerate(config.rules) for key in ("model", "shadow")
    ]
    if config.classifier is None or config.classifier.spec.models is not None:
        return
    for key, name in named:
        if name:
            yield config.origins.finding(
                key, f"[classifier.{config.classifier.name}] has only one model, so a rule cannot name one"
            )


def _web(config: Config) -> Iterator[Finding]:
    web = config.web
    if web.listen and web.token is None and not is_loopback(web.listen):
        yield config.origins.finding(
            "web.token",
            f"is required, because others can reach {web.listen}: set token or token_file, or listen on 127.0.0.1",
        )
    for place, host in enumerate(web.hosts):
        if not _HOST.fullmatch(host):
            yield config.origins.finding(
                f"web.hosts[{place}]",
                "write a host name alone, without scheme, port or path, such as photos.example.com",
            )
    if web.listen and web.listen == config.ops.listen and parse_listen(web.listen)[1]:
        yield config.origins.finding("web.listen", "is the address in [ops], too: give it another port")


def _rule(config: Config, place: int) -> Iterator[Finding]:
    rule = config.rules[place]
    key = f"rules[{place}]"
    for name, globs in (("include", rule.include), ("exclude", rule.exclude)):
        if any(glob.startswith("/") for glob in globs):
            yield config.origins.finding(f"{key}.{name}", "keys do not begin with `/`: remove it")
    for before, earlier in enumerate(config.rules[:place]):
        # Whether the earlier rule certainly matches everything that the later one does; globs are not solved.
        if (
            earlier.bucket == rule.bucket
            and set(earlier.exclude) <= set(rule.exclude)
            and all(
                glob in earlier.include
                or "**" in earlier.include
                or (not set(glob) & set("*?") and any(compile_glob(other).fullmatch(glob) for other in earlier.include))
                for glob in rule.include
            )
        ):
            yield config.origins.finding(key, f"unreachable: rules[{before}] already matches everything in it")
            return
