"""Every error, and every code that documents, dead letters and metrics carry."""

from __future__ import annotations

import ast
import pkgutil
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module

from forms import code, page, slug, table
from sources import ROOT, argument, sources, template

from imgtag import errors as tree
from imgtag.errors import ImgtagError

_INTRO = """\
Every error that the sidecar raises on purpose has a message (what is the matter), a hint (what to do), a code, and
a disposition, by which the pipeline decides: **retry** with back-off, **drop** (set aside as a dead letter,
acknowledged), or **stop**. On the command line they come as `imgtag: MESSAGE`, `caused by: ...`, `hint: ...`;
`imgtag -v` adds the traceback."""

_CODES_INTRO = """\
A code stands in the document of an object that has no labels (`status:refused`, `status:failed`) or whose labels
are not written on it (`code:retention`), in dead letters (`imgtag dlq list`), and in the label `code` of metrics.
`imgtag search 'code:too_large status:*'` finds the objects of one."""

_GROUPS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "Labelled, but not written on": (
        "Status `labelled` with a code; [what is kept](what-is-kept.md) says more of each.",
        {
            "retention": "A retention is in force, or the bucket's default retention would put one on it.",
            "legal_hold": "A legal hold is on it.",
            "replica": "It is a replica; the original is labelled where it lives.",
            "encryption": "The bucket would encrypt what is not encrypted, or the KMS key may not be used.",
            "encryption_unknown": "The bucket's default encryption may not be read.",
            "object_lock_unknown": "The bucket's default retention may not be read.",
            "versioning_unknown": "The bucket's versioning may not be read.",
            "tags_unknown": "Its tags may not be read, so they could be lost.",
            "acl_unknown": "Its ACL may not be read, so it could be lost.",
            "version_lost": "A write would replace an older version, as the bucket makes no more versions.",
            "if_match": "No versions, and the store does not honour If-Match: a newer upload could be lost.",
            "if_match_unknown": "Whether If-Match is honoured is not known, and no bucket may be made to try it.",
            "storage_class": "The server does not take the storage class that it reported.",
            "metadata_full": "The object's own metadata leave no room for a mark.",
            "metadata_encoding": "One of its headers is no UTF-8 and cannot be sent again.",
            "checksum": "Bytes do not match the length, the ETag or the parts.",
            "parts_unknown": "The store does not tell the sizes of its parts.",
            "tags": "Strategy `tags`: the server does not take a tag.",
            "tags_full": "Strategy `tags`: ten tags of others leave no slot.",
            "quota": "The bucket's quota is used up.",
            "permission": "No permission to write (or, where the status is `refused`, to read).",
            "read_only": "A folder on a read-only file system.",
            "unsupported": "The server says that it has no such thing.",
            "store_refused": "The server refuses for another reason, which the message has.",
            "write_limit": "Its labels were written three times in an hour and were gone again: somebody rewrites it.",
            "write_refused": "Any other refusal of a write.",
        },
    ),
    "Refused: not read": (
        "Status `refused`, without labels. Not tried again on the same content unless asked (`imgtag dlq replay`).",
        {
            "too_large": "Over `max_bytes`.",
            "too_many_pixels": "Over `max_pixels`.",
            "too_many_frames": "Over `max_frames`.",
            "memory": "Decoding or classifying takes more than `worker_memory`.",
            "metadata_too_large": "Texts or colour profile in the file unpack to megabytes.",
            "unsupported_format": "A known format that is not decoded, such as HEIC, AVIF, JPEG XL, PDF.",
            "customer_key": "Encrypted with a key of the customer's (SSE-C).",
            "archived": "Archived and not restored, or on a remote tier.",
            "key": "A key with a part `.` or `..`, which does not survive in a URL.",
            "absent": "It is not there any more.",
            "no_file": "Commands: a folder where a file was to be named.",
            "unreadable": "Any other reason.",
        },
    ),
    "Failed: no picture that can be decoded": (
        "Status `failed`. Set aside as a dead letter.",
        {
            "empty": "No bytes.",
            "not_an_image": "The content is no picture, whatever name and type say.",
            "truncated": "The file ends before the picture does.",
            "classifier": "The classifier failed over it.",
            "worker_died": "It ended its worker twice.",
            "worker_timeout": "It took longer than `max_seconds`, twice.",
            "undecodable": "Any other reason.",
        },
    ),
    "Trouble around the objects": (
        "In metrics of retries and in what commands print.",
        {
            "unavailable": "A server, a disk or a share does not answer; tried again.",
            "bucket_absent": "The bucket is not there, or is empty though the index knows of objects; tried again.",
            "conflict": "The object changed while it was worked on; looked at anew.",
            "index_down": "The index does not answer; labelling goes on without it.",
            "index_missing": "The index is gone; it is made again.",
            "index_key": "Meilisearch refuses the key.",
            "index_refused": "Meilisearch does not understand the request.",
            "document": "A document breaks the contract; set aside.",
            "document_too_large": "One document is larger than Meilisearch takes.",
            "jetstream": "The NATS server refuses.",
            "event": "A message is no notification; set aside, with its text.",
            "stopping": "The sidecar is being stopped; the work comes again.",
            "internal": "An error that nobody foresaw, three times on one key; set aside. Please report it.",
            "config": "The configuration cannot be used.",
            "plugin": "A plugin cannot be used.",
            "model": "A model cannot be used.",
            "digest": "A downloaded model has another SHA-256 than was given.",
            "unknown_model": "No such model is installed.",
            "too_few": "Too little to calibrate a model on.",
            "query": "A query cannot be understood.",
            "incomparable": "Nothing to find similar pictures by.",
            "no_vector": "The document has no vector.",
            "error": "Anything without a code of its own.",
        },
    ),
}


def errors() -> str:
    """The page."""
    forgotten = codes() - described()
    assert not forgotten, f"describe these codes in {__file__}: {sorted(forgotten)}"
    drawn = (tree.__doc__ or "").partition("\n\n")[2].partition("\n\nThe docstring")[0]
    rows = [
        (code(name), _first(kind), kind.disposition.value, code(kind.default_code), kind.default_hint or "-")
        for name, kind in classes()
    ]
    return page(
        "Errors and codes",
        _INTRO,
        f"```text\n{_dedented(drawn)}\n```",
        "## Errors",
        table(["Error", "Default message", "Disposition", "Code", "Default hint"], rows),
        "## Codes",
        _CODES_INTRO,
        *(_group(title, *group) for title, group in _GROUPS.items()),
    )


def classes() -> Iterator[tuple[str, type[ImgtagError]]]:
    """Every error with its name, those of plugins with their package."""
    for name in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]:
        _import_all(name)
    yield "ImgtagError", ImgtagError
    yield from sorted((_named(kind), kind) for kind in _below(ImgtagError))


def codes() -> set[str]:
    """All that stand as such in the sources."""
    return {text for source in sources() for node in ast.walk(source.tree) for text in _codes(node)} - {""}


def described() -> set[str]:
    """All that the page explains."""
    return {name for _, group in _GROUPS.values() for name in group}


def _codes(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Call():
            given = argument(node, "code")
            if isinstance(given, ast.Constant):
                yield template(given)
        case (
            ast.Assign(targets=[ast.Name(id="default_code")], value=value)
            | ast.AnnAssign(target=ast.Name(id="default_code"), value=value)
        ):
            yield template(value)


def _group(title: str, about: str, meanings: Mapping[str, str]) -> str:
    rows = [(code(name), meaning) for name, meaning in meanings.items()]
    return f"### {title} {{ #{slug(title)} }}\n\n{about}\n\n{table(['Code', 'LabelDefinition'], rows)}"


def _import_all(package: str) -> None:
    for found in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if ".testing" not in found.name and not found.name.endswith("__main__"):
            import_module(found.name)


def _below(kind: type[ImgtagError]) -> set[type[ImgtagError]]:
    return {
        each
        for child in kind.__subclasses__()
        if ".testing" not in child.__module__
        for each in (child, *_below(child))
    }


def _named(kind: type[ImgtagError]) -> str:
    package = kind.__module__.partition(".")[0]
    return kind.__name__ if package == "imgtag" else f"{package}.{kind.__name__}"


def _first(kind: type[ImgtagError]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _dedented(text: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())
