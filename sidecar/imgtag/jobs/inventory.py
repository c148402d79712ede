"""Objects by an S3 Inventory: a manifest that names data files, which list the objects of a bucket.

The manifest is an object in the store, with its data files in the same bucket, or a local file with its data files
beside it. https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory.html
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, Literal, TypeAlias, TypeVar, cast
from urllib.parse import unquote_to_bytes

from anyio import to_thread
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imgtag.errors import ImgtagError
from imgtag.jobs.candidates import Candidate, Reject, Rejection, iterate_in_thread, make_ref, split_lines
from imgtag.jobs.job_record import read_fields, update_fields
from imgtag.plugin.source import RecordKeeper
from imgtag.plugin.store import Body, RangedBody, Store
from imgtag.types.ref import Listed, ObjectRef, Scope

MAX_MANIFEST = 32 << 20
"""Bytes: about 150,000 data files."""
MAX_DATA_FILE = 5 << 30
"""Bytes of one data file as it is stored; it is copied to a temporary file."""
MAX_WHOLE = 64 << 20
"""Bytes of a data file of a store that cannot read in parts."""
MAX_RATIO = 200
"""Times that a data file may grow when it is decompressed: keys alike compress to a fiftieth, bombs to a thousandth."""
MIN_SUSPECT = 16 << 20
"""Bytes of decompressed data from which that is looked at."""
MAX_GROUP = 1 << 30
"""Bytes of a row group of Parquet, decompressed, which may have to be in memory."""
_PART = 8 << 20
_ROWS = 1_000
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}Z")
_MANIFEST = "manifest.json"

_USED = frozenset({"bucket", "key", "islatest", "isdeletemarker", "size", "lastmodifieddate", "etag"})
T = TypeVar("T")
FileOpener: TypeAlias = Callable[["DataFile"], AbstractAsyncContextManager[BinaryIO]]


class InventoryError(ImgtagError):
    """The S3 Inventory cannot be used."""

    default_code = "inventory"
    default_hint = "Objects that it listed before this point have been passed on. Use another inventory for the rest."


class DataFile(BaseModel):
    """A file that lists objects, as the manifest describes it."""

    model_config = ConfigDict(frozen=True)

    key: str = Field(min_length=1, max_length=1024)
    md5: str = Field("", alias="MD5checksum")


class _Manifest(BaseModel):
    bucket: str = Field(alias="sourceBucket", min_length=1)
    format: Literal["CSV", "Parquet", "ORC"] = Field(alias="fileFormat")
    columns: str = Field(alias="fileSchema")
    created: int | None = Field(None, alias="creationTimestamp")
    """Milliseconds since 1970; AWS writes them as a text."""
    files: list[DataFile]


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The objects of ``bucket`` at the time ``created``, in seconds since 1970. ``source`` is its manifest."""

    source: str
    bucket: str
    created: float | None
    format: Literal["CSV", "Parquet", "ORC"]
    columns: tuple[str, ...]
    """Of CSV, in their order, without case and underscores."""
    files: Sequence[DataFile]
    open_file: FileOpener

    async def read(self, reject: Reject) -> AsyncIterator[Candidate]:
        """All objects: of each key the latest version, unless that is a delete marker.

        Rows that name no object of the bucket are passed to ``reject``. Memory does not depend on the number of rows.
        Raises InventoryError where a data file is missing, is not what the manifest says, or breaks off; the objects
        before that place are yielded first.
        """
        read = {"CSV": self._read_csv, "Parquet": self._read_parquet, "ORC": self._read_orc}[self.format]
        for data_file in self.files:
            async with self.open_file(data_file) as file:
                async for candidate in iterate_in_thread(read(file, data_file.key), reject):
                    yield candidate

    def _read_csv(self, file: BinaryIO, name: str) -> Iterator[Sequence[Candidate | Rejection]]:
        size = file.seek(0, 2)
        file.seek(0)
        last = 0
        try:
            with gzip.GzipFile(fileobj=file) as unzipped:
                for lines in split_lines(cast("BinaryIO", unzipped)):
                    yield _parse_each(lines, self._parse_line, name)
                    last = lines[-1][0] if lines else last
                    if unzipped.tell() > max(MIN_SUSPECT, MAX_RATIO * size):
                        raise InventoryError(f"{name}, line {last:,}: it grows to more than {MAX_RATIO} times its size")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InventoryError(f"{name}, after line {last:,}: it breaks off or is damaged: {error}") from error

    def _read_parquet(self, file: BinaryIO, name: str) -> Iterator[Sequence[Candidate | Rejection]]:
        parquet = _import_pyarrow("pyarrow.parquet", name)

        def read_batches() -> Iterator[Any]:
            table = parquet.ParquetFile(file)
            groups = (table.metadata.row_group(index) for index in range(table.metadata.num_row_groups))
            if (largest := max((group.total_byte_size for group in groups), default=0)) > MAX_GROUP:
                raise InventoryError(f"{name}: {largest:,} bytes in one row group exceed the limit of {MAX_GROUP:,}")
            columns = _pick_columns(table.schema_arrow.names, name)
            yield from table.iter_batches(_ROWS, columns=columns, use_threads=False)

        return self._read_batches(read_batches(), name)

    def _read_orc(self, file: BinaryIO, name: str) -> Iterator[Sequence[Candidate | Rejection]]:
        orc = _import_pyarrow("pyarrow.orc", name)

        def read_batches() -> Iterator[Any]:
            table = orc.ORCFile(file)
            columns = _pick_columns(table.schema.names, name)
            for index in range(table.nstripes):
                stripe = table.read_stripe(index, columns=columns)
                yield from (stripe.slice(start, _ROWS) for start in range(0, stripe.num_rows, _ROWS))

        return self._read_batches(read_batches(), name)

    def _read_batches(self, batches: Iterator[Any], name: str) -> Iterator[Sequence[Candidate | Rejection]]:
        last = 0
        try:
            for batch in batches:
                rows = [
                    {_normalise(column): value for column, value in row.items()}
                    for row in batch.to_pylist()  # a batch is short
                ]
                yield _parse_each(enumerate(rows, last + 1), self._parse, name)
                last += len(rows)
        except (OSError, ValueError, _import_pyarrow("pyarrow", name).ArrowException) as error:
            raise InventoryError(f"{name}, after row {last:,}: it breaks off or is damaged: {error}") from error

    def _parse_line(self, line: bytes | None) -> Candidate | None:
        if line is None:
            raise ValueError("it is too long")
        try:
            (fields,) = csv.reader([line.decode()], strict=True)  # one line at a time: a quote left open ends with it
        except csv.Error as error:
            raise ValueError(f"it is not CSV: {error}") from None
        if len(fields) != len(self.columns):
            raise ValueError(f"it has {len(fields)} columns, not {len(self.columns)}")
        row: dict[str, Any] = dict(zip(self.columns, fields, strict=True))
        # Only CSV has its keys URL-encoded; a `+` that belongs to the key is written as %2B.
        row["key"] = unquote_to_bytes(row["key"].replace("+", " ")).decode()
        return self._parse(row)

    def _parse(self, row: Mapping[str, Any]) -> Candidate | None:
        """The object of a row; None for what is not the latest version, or a delete marker."""
        if _is_set(row.get("islatest"), otherwise=True) is False or _is_set(row.get("isdeletemarker"), otherwise=False):
            return None
        if row["bucket"] != self.bucket:
            raise ValueError(f"it is in the bucket {row['bucket']!r}, and the manifest is of {self.bucket!r}")
        size, etag = row.get("size"), row.get("etag")
        return Candidate(
            ref=make_ref(self.bucket, row["key"] or ""),
            size=int(size) if size not in {None, ""} else None,
            etag=str(etag).strip('"') if etag else None,
            modified=_to_seconds(row.get("lastmodifieddate")),
        )


def _parse_each(
    rows: Iterable[tuple[int, T]], parse: Callable[[T], Candidate | None], name: str
) -> list[Candidate | Rejection]:
    """The objects of numbered rows; those of which ``parse`` raises ValueError are rejected."""
    items: list[Candidate | Rejection] = []
    for number, row in rows:
        try:
            candidate = parse(row)
        except (ValueError, OverflowError) as error:
            reason = "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)
            items.append(Rejection(source=name, line=number, reason=reason))
        else:
            if candidate is not None:
                items.append(candidate)
    return items


async def open_inventory(
    store: Store, manifest: ObjectRef, *, buckets: Collection[str] | None = None, spool: Path | None = None
) -> Inventory:
    """The inventory of a manifest in the store. Data files are read from the bucket of the manifest, and no other.

    ``buckets``: those that it may list; None for any. ``spool``: the folder for a temporary copy of one data file at a
    time; by default that of the system. Raises InventoryError, Unavailable, Unreadable.
    """

    @asynccontextmanager
    async def open_file(data_file: DataFile) -> AsyncIterator[BinaryIO]:
        ref = ObjectRef(manifest.bucket, data_file.key)
        with await to_thread.run_sync(lambda: TemporaryFile(dir=spool)) as file:
            async with store.open(ref) as body:
                if body is None:
                    raise InventoryError(f"{ref}: it is missing, and {manifest} names it")
                await _copy(body, file, ref)
            await _require_md5(file, data_file, str(ref))
            yield file

    data = await _read_object(store, manifest)
    if data is None:
        raise InventoryError(f"{manifest} does not exist", hint="Name the manifest.json of an inventory.")
    checksum = await _read_object(store, ObjectRef(manifest.bucket, _checksum_name(manifest.key)))
    return _parse_manifest(data, checksum, str(manifest), buckets, open_file)


async def open_local_inventory(manifest: Path, *, buckets: Collection[str] | None = None) -> Inventory:
    """The inventory of a local manifest, whose data files lie beside it, or in a folder ``data`` there or one above.

    Only the last part of the names in the manifest counts, so no name leads out of these folders. Raises
    InventoryError, OSError.
    """
    folders = (manifest.parent, manifest.parent / "data", manifest.parent.parent / "data")

    def find(name: str) -> BinaryIO:
        if name in {"", ".", ".."} or "\0" in name:
            raise InventoryError(f"{manifest}: {name!r} is not the name of a file")
        for folder in folders:
            if (folder / name).is_file():
                return (folder / name).open("rb")
        raise InventoryError(f"{name}: it is missing, and {manifest} names it", hint=f"Put it into {manifest.parent}.")

    @asynccontextmanager
    async def open_file(data_file: DataFile) -> AsyncIterator[BinaryIO]:
        with await to_thread.run_sync(find, data_file.key.rpartition("/")[2]) as file:
            await _require_md5(file, data_file, file.name)
            yield file

    def read() -> tuple[bytes, bytes | None]:
        checksum = manifest.with_name(_checksum_name(manifest.name))
        with manifest.open("rb") as file:
            data = file.read(MAX_MANIFEST + 1)
        if len(data) > MAX_MANIFEST:
            raise InventoryError(f"{manifest} exceeds {MAX_MANIFEST:,} bytes")
        return data, checksum.read_bytes() if checksum.is_file() and checksum != manifest else None

    return _parse_manifest(*await to_thread.run_sync(read), str(manifest), buckets, open_file)


async def find_newest_manifest(store: Store, scope: Scope) -> Listed | None:
    """The newest manifest below a prefix, by the time in its name, else by when it was written. Raises Unavailable."""
    newest, newest_time = None, 0.0
    async for listed in store.list(scope):
        *_, folder, name = ("", *listed.ref.key.split("/"))
        if name == _MANIFEST:
            is_named = _TIME.fullmatch(folder)
            at = datetime.strptime(folder, "%Y-%m-%dT%H-%MZ").replace(tzinfo=UTC).timestamp() if is_named else None
            if newest is None or (at or listed.modified) > newest_time:
                newest, newest_time = listed, at or listed.modified
    return newest


@dataclass(frozen=True)
class DoneInventories:
    """Which manifests have been worked off, by any process of the site. A manifest that was rewritten counts as new."""

    records: RecordKeeper

    async def find_new_manifest(self, store: Store, scope: Scope) -> Listed | None:
        """The newest manifest below a prefix, unless it is done. Raises Unavailable."""
        newest = await find_newest_manifest(store, scope)
        return newest if newest is None or not await self.is_done(newest) else None

    async def is_done(self, manifest: Listed) -> bool:
        """Whether it was marked. Raises Unavailable."""
        return bool(await read_fields(self.records, _record_name(manifest)))

    async def mark_done(self, manifest: Listed) -> None:
        """Remember it for good. Raises Unavailable."""
        fields = {"manifest": str(manifest.ref), "etag": manifest.etag, "at": datetime.now(UTC).timestamp()}
        await update_fields(self.records, _record_name(manifest), fields)


def _record_name(manifest: Listed) -> str:
    return f"inventory-{hashlib.sha256(f'{manifest.ref} {manifest.etag}'.encode()).hexdigest()[:32]}"


def _parse_manifest(
    data: bytes, checksum: bytes | None, source: str, buckets: Collection[str] | None, open_file: FileOpener
) -> Inventory:
    if checksum is not None and checksum.decode(errors="replace").strip().lower() != _md5(data):
        raise InventoryError(f"{source}: its MD5 is not the one in {_checksum_name(source)}")
    try:
        manifest = _Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        hint = "Name the manifest.json of an inventory."
        raise InventoryError(f"{source} is not a manifest: {place}: {first['msg']}", hint=hint) from error
    if buckets is not None and manifest.bucket not in buckets:
        asked = ", ".join(sorted(buckets)) or "none"
        hint = "Name the inventory of a bucket that the rules admit."
        raise InventoryError(f"{source} lists the bucket {manifest.bucket!r}; asked for: {asked}", hint=hint)
    columns = tuple(_normalise(column) for column in manifest.columns.split(",")) if manifest.format == "CSV" else ()
    if manifest.format == "CSV" and not {"bucket", "key"} <= set(columns):
        raise InventoryError(f"{source}: the columns Bucket and Key are missing in fileSchema")
    return Inventory(
        source=source,
        bucket=manifest.bucket,
        created=None if manifest.created is None else manifest.created / 1000,
        format=manifest.format,
        columns=columns,
        files=manifest.files,
        open_file=open_file,
    )


async def _read_object(store: Store, ref: ObjectRef) -> bytes | None:
    async with store.open(ref) as body:
        if body is None:
            return None
        if body.state.unreadable:
            raise InventoryError(f"{ref} cannot be read ({body.state.unreadable})")
        return await body.read(MAX_MANIFEST)


async def _copy(body: Body, file: BinaryIO, ref: ObjectRef) -> None:
    size = body.state.size
    if body.state.unreadable:
        raise InventoryError(f"{ref} cannot be read ({body.state.unreadable})")
    if size > MAX_DATA_FILE:
        raise InventoryError(f"{ref}: {size:,} bytes exceed the limit of {MAX_DATA_FILE:,}")
    if not isinstance(body, RangedBody):
        await to_thread.run_sync(file.write, await body.read(MAX_WHOLE))
        return
    for start in range(0, size, _PART):
        await to_thread.run_sync(file.write, await body.read_range(start, min(_PART, size - start)))


async def _require_md5(file: BinaryIO, data_file: DataFile, name: str) -> None:
    """Raise InventoryError where the bytes are not those that the manifest means; the file is at its start then."""

    def check() -> None:
        file.seek(0)
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()  # type: ignore[arg-type]
        if data_file.md5 and digest != data_file.md5.lower():
            raise InventoryError(f"{name}: it is cut off or was changed: its MD5 is {digest}, not {data_file.md5}")
        file.seek(0)

    await to_thread.run_sync(check)


def _import_pyarrow(module: str, name: str) -> Any:
    from importlib import import_module  # noqa: PLC0415

    try:
        return import_module(module)
    except ImportError as error:
        hint = "pip install 'imgtag-sidecar[inventory]', or have the inventory made as CSV."
        raise InventoryError(f"{name}: Parquet and ORC need pyarrow, which is not installed", hint=hint) from error


def _pick_columns(names: Iterable[str], file: str) -> list[str]:
    columns = [name for name in names if _normalise(name) in _USED]
    if not {"bucket", "key"} <= {_normalise(name) for name in columns}:
        raise InventoryError(f"{file}: it has no columns bucket and key")
    return columns


def _checksum_name(manifest: str) -> str:
    return manifest.removesuffix("json") + "checksum"


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _normalise(column: str) -> str:
    """``LastModifiedDate`` of CSV is ``last_modified_date`` in Parquet and ORC."""
    return column.strip().replace("_", "").lower()


def _is_set(value: Any, *, otherwise: bool) -> bool:
    if value is None or value == "":
        return otherwise
    return str(value).lower() == "true"


def _to_seconds(value: Any) -> float | None:
    if value is None or value == "":
        return None
    at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
