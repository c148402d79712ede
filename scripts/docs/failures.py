"""Every error, and every code in documents, dead letters and metrics."""

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
Every error that the sidecar raises on purpose has a message (what is wrong), a hint (what to do), a code, and a
disposition, which tells the pipeline to **retry** with back-off, to **drop** the work (set it aside as a dead letter
and acknowledge it), or to **stop**. The command line prints `imgtag: MESSAGE`, `caused by: ...`, `hint: ...`;
`imgtag -v` adds the traceback."""

_CODES_INTRO = """\
A code appears in the document of an object without labels (`status:refused`, `status:failed`) or whose labels are not
written to it (`code:retention`), in dead letters (`imgtag dlq list`), and in the label `code` of metrics.
`imgtag search 'code:too_large status:*'` finds the objects with one code."""

_GROUPS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "Labelled but not written": (
        "Status `labelled` with a code; [what imgtag keeps](what-is-kept.md) explains each.",
        {
            "retention": "A retention is in force, or the bucket's default retention would apply one.",
            "legal_hold": "The object is under a legal hold.",
            "replica": "The object is a replica; imgtag labels the original where that lives.",
            "encryption": "The bucket would encrypt an unencrypted object, or the sidecar may not use the KMS key.",
            "encryption_unknown": "The sidecar may not read the bucket's default encryption.",
            "object_lock_unknown": "The sidecar may not read the bucket's default retention.",
            "versioning_unknown": "The sidecar may not read the bucket's versioning.",
            "tags_unknown": "The sidecar may not read the tags, so a write could lose them.",
            "acl_unknown": "The sidecar may not read the ACL, so a write could lose it.",
            "version_lost": "A write would replace an older version, because the bucket creates no more versions.",
            "if_match": "No versions, and the store's If-Match is ignored or not atomic: an upload could be lost.",
            "if_match_unknown": "Unknown whether the store honours If-Match, and no bucket may be created to test it.",
            "storage_class": "The server does not accept the storage class that it reported.",
            "metadata_full": "The object's own metadata leaves no room for a mark.",
            "metadata_encoding": "A header is not UTF-8 and cannot be sent again.",
            "checksum": "The bytes do not match the length, the ETag or the parts.",
            "parts_unknown": "The store does not report the sizes of the parts.",
            "tags": "Strategy `tags`: the server does not accept a tag.",
            "tags_full": "Strategy `tags`: ten tags of others leave no slot.",
            "quota": "The bucket's quota is exhausted.",
            "permission": "No permission to write (or to read, if the status is `refused`).",
            "read_only": "The folder is on a read-only file system.",
            "unsupported": "The server does not support the request.",
            "store_refused": "The server refuses for another reason; see the message.",
            "write_limit": "Labels written three times in an hour disappeared: another program rewrites the object.",
            "write_refused": "Any other refusal of a write.",
        },
    ),
    "Refused: not read": (
        "Status `refused`, without labels. Not tried again on the same content unless asked (`imgtag dlq replay`).",
        {
            "too_large": "Over `max_bytes`.",
            "too_many_pixels": "Over `max_pixels`.",
            "too_many_frames": "Over `max_frames`.",
            "too_many_scans": "A progressive JPEG of more than 100 scans.",
            "too_small": "Too narrow for a remote classifier: enlarged to its least width, it would be too long.",
            "memory": "Decoding or classifying needs more than `worker_memory`.",
            "metadata_too_large": "Text or a colour profile in the file decompresses to megabytes.",
            "unsupported_format": "A recognised [format](formats.md) that is not decoded, such as JPEG XL or SVG.",
            "customer_key": "Encrypted with a customer-provided key (SSE-C).",
            "archived": "Archived and not restored, or on a remote tier.",
            "key": "A key with a segment `.` or `..`, which does not survive in a URL.",
            "absent": "The object no longer exists.",
            "exists": "`imgtag dataset copy`: another object has the name of the copy; it was kept.",
            "admitted": "`imgtag strip`: a rule still labels the object, so a running sidecar would undo it.",
            "unproven": "`imgtag strip`: an entry has the form of imgtag's, and nothing proves that it is imgtag's.",
            "ref": "Commands: the argument is not BUCKET/KEY.",
            "no_file": "Commands: the argument is a folder, not a file.",
            "unreadable": "Any other reason.",
        },
    ),
    "Failed: not decodable": (
        "Status `failed`. Set aside as a dead letter.",
        {
            "empty": "No bytes.",
            "not_an_image": "The content is not an image, whatever name and type say.",
            "truncated": "The file ends before the image does.",
            "classifier": "The classifier failed on the image.",
            "server_refuses": "A remote classifier's server refuses the image; the reason is its own.",
            "worker_died": "The image killed its worker twice.",
            "worker_timeout": "The image took longer than `max_seconds`.",
            "undecodable": "Any other reason.",
        },
    ),
    "Other problems": (
        "These appear in retry metrics and in command output.",
        {
            "unavailable": "A server, disk or share does not answer; imgtag tries again.",
            "invalid_answer": "A classifier's server answers what the settings do not describe; the image waits.",
            "budget_spent": "The month's budget of Rekognition is spent; the image waits for the next month.",
            "budget_damaged": "The file that counts the month's calls is damaged; no call is made.",
            "throttled": "A classifier's server asks for fewer requests; the image waits.",
            "timeout": "A classifier's server took longer than `timeout`; the image waits.",
            "bucket_absent": "The bucket is missing, or empty although the index knows objects; imgtag tries again.",
            "conflict": "The object changed during the work; imgtag looks at it again.",
            "index_down": "The index does not answer; labelling continues without it.",
            "index_missing": "The index no longer exists; imgtag creates it again.",
            "index_key": "Meilisearch refuses the key.",
            "index_rights": "Elasticsearch or OpenSearch refuses the login, or it lacks a permission.",
            "index_read_only": "The cluster takes no documents, mostly for want of disk space; imgtag tries again.",
            "index_alias": "`[indexer.elasticsearch] index` is not the alias of one index.",
            "index_version": "The cluster is older than imgtag can use.",
            "index_red": "A part of the index has no node.",
            "index_refused": "The server of the index does not understand the request.",
            "document": "A document breaks the contract; imgtag sets it aside.",
            "document_too_large": "A document is larger than the server of the index accepts.",
            "jetstream": "The NATS server refuses the request.",
            "sqs": "The queue service refuses the request.",
            "redriven": "SQS itself moved a message to the dead letters, because it had been received too often.",
            "event": "A message is not a notification; imgtag sets it aside with its text.",
            "stopping": "The sidecar is stopping; NATS redelivers the work.",
            "internal": "An unforeseen error, three times on one key; imgtag sets the object aside. Please report it.",
            "config": "The configuration is unusable.",
            "plugin": "A plugin is unusable.",
            "model": "A model is unusable.",
            "digest": "A downloaded model does not have the given SHA-256.",
            "unknown_model": "No such model is installed.",
            "too_few": "There are too few images to calibrate a model.",
            "inventory": "A manifest or a data file of an S3 Inventory is missing, damaged, or not what was asked for.",
            "query": "The query is invalid.",
            "incomparable": "There is nothing to find similar images by.",
            "no_vector": "The document has no vector.",
            "error": "Anything without a code of its own.",
        },
    ),
}


def errors() -> str:
    """Return the page."""
    undescribed = codes() - described()
    assert not undescribed, f"describe these codes in {__file__}: {sorted(undescribed)}"
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
    """Yield every error with its name; errors of plugins are qualified by their package."""
    for name in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]:
        _import_all(name)
    yield "ImgtagError", ImgtagError
    yield from sorted((_named(kind), kind) for kind in _below(ImgtagError))


def codes() -> set[str]:
    """Return all codes in the sources."""
    return {text for source in sources() for node in ast.walk(source.tree) for text in _codes(node)} - {""}


def described() -> set[str]:
    """Return all codes that the page explains."""
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
    return f"### {title} {{ #{slug(title)} }}\n\n{about}\n\n{table(['Code', 'Meaning'], rows)}"


def _import_all(package: str) -> None:
    for found in pkgutil.walk_packages(import_module(package).__path__, f"{package}."):
        if ".testing" not in found.name and not found.name.endswith("__main__"):
            import_module(found.name)


def _below(kind: type[ImgtagError]) -> set[type[ImgtagError]]:
    return {
        class_
        for child in kind.__subclasses__()
        if ".testing" not in child.__module__
        for class_ in (child, *_below(child))
    }


def _named(kind: type[ImgtagError]) -> str:
    package = kind.__module__.partition(".")[0]
    return kind.__name__ if package == "imgtag" else f"{package}.{kind.__name__}"


def _first(kind: type[ImgtagError]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _dedented(text: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())
