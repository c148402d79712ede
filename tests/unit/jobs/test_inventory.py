"""Objects by an S3 Inventory, from a folder and from a store; what is damaged or hostile is refused by name."""

from __future__ import annotations

import gzip
import io
import sys
from hashlib import md5

import pytest

from imgtag.jobs import inventory as module
from imgtag.jobs.candidates import MAX_LINE
from imgtag.jobs.inventory import (
    DoneInventories,
    InventoryError,
    find_newest_manifest,
    open_inventory,
    open_local_inventory,
)
from imgtag.testing.source import MemorySource
from imgtag.testing.store import MemoryStore
from imgtag.types.ref import ObjectRef, Scope

from .inventories import ALL, manifest, require_pyarrow, row, to_csv, to_table

pytestmark = pytest.mark.anyio

MODIFIED = 1795741323.0


@pytest.fixture
def write(tmp_path):
    """Writes a manifest with its data files, and returns where it is."""

    def make(files, *, content=None, beside=None, **changes):
        for name, data in (files if beside is None else beside).items():
            (tmp_path / name.rpartition("/")[2]).write_bytes(data)
        path = tmp_path / "manifest.json"
        path.write_bytes(manifest(files, **changes) if content is None else content)
        return path

    return make


def fail(rejection):
    pytest.fail(str(rejection))


async def read(path, **options):
    """What an inventory lists, and what it should not."""
    candidates, rejections = [], []
    inventory = await open_local_inventory(path, **options)
    async for candidate in inventory.read(rejections.append):
        candidates.append(candidate)
    return candidates, [str(rejection) for rejection in rejections]


async def test_csv(write):
    """Keys are decoded, and a `+` is a space; columns come in any order; what is not given is not invented."""
    columns = ("Size", "Key", "ETag", "StorageClass", "Bucket", "LastModifiedDate")
    rows = [
        row("a/red fox+1%.jpg", StorageClass="STANDARD"),
        row("füchse/日.jpg", StorageClass="GLACIER", Size=None, ETag=None, LastModifiedDate=None),
        row('"quoted",comma.jpg', StorageClass=""),
    ]

    candidates, rejections = await read(write({"data/1.csv.gz": to_csv(rows, columns)}, columns=columns))

    first, second, third = candidates
    assert ("pictures/a/red fox+1%.jpg", 123, MODIFIED) == (str(first.ref), first.size, first.modified)
    assert "d41d8cd98f00b204e9800998ecf8427e" == first.etag
    assert ("pictures/füchse/日.jpg", None, None, None) == (str(second.ref), second.size, second.etag, second.modified)
    assert 'pictures/"quoted",comma.jpg' == str(third.ref)
    assert [] == rejections


VERSIONS = [
    row("now.jpg"),
    row("now.jpg", VersionId="v0", IsLatest="false"),
    row("gone.jpg", IsDeleteMarker="true", Size=None, ETag=None),
    row("gone.jpg", VersionId="v0", IsLatest="false"),
]


@pytest.mark.parametrize("shape", ["CSV", "Parquet", "ORC"])
async def test_versions(write, shape):
    """Only the latest one of a key, unless that is a delete marker; the same in all three formats."""
    data = to_csv(VERSIONS)
    if shape != "CSV":
        file = io.BytesIO()
        writer = require_pyarrow(f"pyarrow.{shape.lower()}").write_table
        writer(
            to_table([*VERSIONS, *(row(f"{number} %41.jpg") | {"Key": f"{number} %41.jpg"} for number in range(2500))]),
            file,
        )
        data = file.getvalue()

    candidates, rejections = await read(write({"1": data}, fileFormat=shape, fileSchema=", ".join(ALL)))

    first, *others = candidates
    assert ("pictures/now.jpg", 123, "d41d8cd98f00b204e9800998ecf8427e", MODIFIED) == (
        str(first.ref), first.size, first.etag, first.modified,
    )  # fmt: skip
    assert [] == rejections
    if shape == "CSV":
        assert [] == others
    else:
        assert (2500, "2499 %41.jpg") == (len(others), others[-1].ref.key), "keys are as they are"


async def test_rows_that_name_no_object(write):
    """They are reported with their number, and the others are used."""
    lines = [
        *gzip.decompress(to_csv([row("good.jpg")])).splitlines(),
        *gzip.decompress(to_csv([row("other.jpg", Bucket="secrets")])).splitlines(),
        b'"pictures","only two"',
        gzip.decompress(to_csv([row("x" * 1025)])).strip(),
        b'"pictures","%ff.jpg","","","","","",""',
        b'"pictures","size.jpg","","","","many","",""',
        b'"pictures","open.jpg,"","","","","",""',
        b'"pictures","","","","","","",""',
        b"x" * (MAX_LINE + 1),
        *gzip.decompress(to_csv([row("last.jpg")])).splitlines(),
    ]

    candidates, rejections = await read(write({"1.csv.gz": gzip.compress(b"\n".join(lines))}))

    assert ["good.jpg", "last.jpg"] == [candidate.ref.key for candidate in candidates]
    assert [
        "1.csv.gz, line 2: it is in the bucket 'secrets', and the manifest is of 'pictures'",
        "1.csv.gz, line 3: it has 2 columns, not 8",
        "1.csv.gz, line 4: its key is longer than 1,024 bytes",
        "1.csv.gz, line 5: it is not UTF-8",
        "1.csv.gz, line 6: invalid literal for int() with base 10: 'many'",
        "1.csv.gz, line 7: it is not CSV: unexpected end of data",
        "1.csv.gz, line 8: it names no key",
        "1.csv.gz, line 9: it is too long",
    ] == rejections


@pytest.mark.parametrize("damage", ["cut", "checksum"])
async def test_a_data_file_that_breaks_off(write, damage):
    """What came before is yielded; the error names the file and the line."""
    rows = [row(f"{number:06}.jpg", ETag=md5(b"%d" % number).hexdigest()) for number in range(20_000)]
    first, second = to_csv(rows[:10]), to_csv(rows)
    second = second[:-100_000] if damage == "cut" else second[:-8] + b"\0" * 8
    path = write({"1.csv.gz": first, "2.csv.gz": second})
    candidates = []

    async def collect():
        async for candidate in (await open_local_inventory(path)).read(fail):
            candidates.append(candidate)

    with pytest.raises(InventoryError, match=r"2\.csv\.gz, after line [\d,]+: it breaks off or is damaged") as caught:
        await collect()

    line = int(caught.value.message.partition("line ")[2].partition(":")[0].replace(",", ""))
    assert line > 100
    assert 10 + line == len(candidates)


async def test_a_data_file_that_is_not_the_one_of_the_manifest(write):
    """Nothing of it is used."""
    whole = to_csv([row(f"{number}.jpg") for number in range(100)])
    path = write({"1.csv.gz": whole}, beside={"1.csv.gz": to_csv([row("0.jpg")])})

    with pytest.raises(InventoryError, match=r"1\.csv\.gz: it is cut off or was changed: its MD5 is"):
        await read(path)


@pytest.mark.parametrize(
    "bomb",
    [b"\0" * (4 << 20), b'"pictures","a.jpg","","","","","",""\n' * 100_000],
    ids=["one line", "many lines"],
)
async def test_a_gzip_bomb(write, monkeypatch, bomb):
    """It is given up after some megabytes."""
    monkeypatch.setattr(module, "MIN_SUSPECT", 1 << 20)
    with pytest.raises(InventoryError, match=r"1\.csv\.gz, line [\d,]+: it grows to more than 200 times its size"):
        await read(write({"1.csv.gz": gzip.compress(bomb)}))


async def test_a_row_group_that_would_fill_the_memory(write, monkeypatch):
    monkeypatch.setattr(module, "MAX_GROUP", 100)
    file = io.BytesIO()
    require_pyarrow("pyarrow.parquet").write_table(to_table(VERSIONS * 100), file)

    with pytest.raises(InventoryError, match=r"bytes in one row group exceed the limit of 100"):
        await read(write({"1": file.getvalue()}, fileFormat="Parquet"))


@pytest.mark.parametrize("shape", ["Parquet", "ORC"])
async def test_columns_that_are_damaged(write, shape):
    require_pyarrow()
    with pytest.raises(InventoryError, match="1, after row 0: it breaks off or is damaged"):
        await read(write({"1": b"PAR1 nothing of the kind PAR1"}, fileFormat=shape))


@pytest.mark.parametrize("shape", ["Parquet", "ORC"])
async def test_without_the_extra(write, monkeypatch, shape):
    """The error names it."""
    for name in ("pyarrow", "pyarrow.parquet", "pyarrow.orc"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(InventoryError, match="1: Parquet and ORC need pyarrow, which is not installed") as caught:
        await read(write({"1": b""}, fileFormat=shape))

    assert "pip install 'imgtag-sidecar[inventory]'" in caught.value.hint


@pytest.mark.parametrize("name", ["../../secret", "/etc/secret", "a/../../secret", "secret/.."])
async def test_a_name_leads_out_of_no_folder(write, tmp_path, name):
    """Only its last part counts."""
    (tmp_path.parent / "secret").write_bytes(to_csv([row("secret.jpg")]))
    path = write({name: to_csv([row("secret.jpg")])}, beside={})

    with pytest.raises(InventoryError, match=r"it is missing, and|is not the name of a file"):
        await read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a manifest: : Invalid JSON"),
        (b"[" * 100_000, "is not a manifest"),
        (b"{}", "is not a manifest: sourceBucket: Field required"),
        (manifest({}, fileFormat="XLSX"), "is not a manifest: fileFormat: Input should be 'CSV', 'Parquet' or 'ORC'"),
        (manifest({}, files=[{"key": ""}]), r"is not a manifest: files\.0\.key"),
        (manifest({}, columns=("Key", "Size")), "the columns Bucket and Key are missing in fileSchema"),
    ],
)
async def test_what_is_no_manifest(write, content, message):
    with pytest.raises(InventoryError, match=message):
        await read(write({}, content=content))


async def test_a_bucket_that_nobody_asked_for(write):
    path = write({})

    assert ([], []) == await read(path, buckets={"pictures"})
    with pytest.raises(InventoryError, match="lists the bucket 'pictures'; asked for: a, b"):
        await read(path, buckets={"b", "a"})


async def test_the_checksum_of_the_manifest(write, tmp_path):
    """Where it is there it must be right, also when it ends with a line break."""
    path = write({})
    (tmp_path / "manifest.checksum").write_text(md5(path.read_bytes()).hexdigest() + "\n")
    assert ([], []) == await read(path)

    (tmp_path / "manifest.checksum").write_text("0" * 32)
    with pytest.raises(InventoryError, match=r"its MD5 is not the one in .*manifest\.checksum"):
        await read(path)


FOLDER = "lists/pictures/weekly/2026-11-{day:02}T01-00Z"


def put_inventory(store, day, keys):
    data = to_csv([row(key) for key in keys])
    name = f"lists/pictures/weekly/data/{day}.csv.gz"
    store.put(f"inventories/{name}", data)
    store.put(f"inventories/{FOLDER.format(day=day)}/manifest.json", manifest({name: data}))
    return ObjectRef("inventories", f"{FOLDER.format(day=day)}/manifest.json")


async def test_from_a_store(tmp_path):
    """Data files are objects of the manifest's bucket, and are copied to the folder that is given."""
    store = MemoryStore("inventories")
    ref = put_inventory(store, 1, ["a.jpg", "b.jpg"])

    inventory = await open_inventory(store, ref, buckets={"pictures"}, spool=tmp_path)
    keys = [candidate.ref.key async for candidate in inventory.read(fail)]

    assert ["a.jpg", "b.jpg"] == keys
    assert ("pictures", 1795741200.0) == (inventory.bucket, inventory.created)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("missing", ["manifest", "data"])
async def test_what_is_missing_in_the_store(missing):
    store = MemoryStore("inventories")
    ref = put_inventory(store, 1, ["a.jpg"])
    store.delete(ref if missing == "manifest" else "inventories/lists/pictures/weekly/data/1.csv.gz")

    async def read_all():
        return [candidate async for candidate in (await open_inventory(store, ref)).read(fail)]

    with pytest.raises(InventoryError, match="does not exist" if missing == "manifest" else "it is missing, and"):
        await read_all()


async def test_the_newest_manifest_starts_once():
    """By the time in its name, whenever it was written; after it is done, only a newer one, or one written anew."""
    store, source = MemoryStore("inventories"), MemorySource()
    done = DoneInventories(source)
    scope = Scope("inventories", "lists/")
    assert await find_newest_manifest(store, scope) is None
    newest = put_inventory(store, 9, [])
    put_inventory(store, 2, [])
    store.put("inventories/lists/pictures/weekly/2026-11-30T01-00Z/manifest.checksum", b"")

    manifest = await done.find_new_manifest(store, scope)
    assert newest == manifest.ref
    await done.mark_done(manifest)
    assert await DoneInventories(MemorySource(source.broker)).find_new_manifest(store, scope) is None
    store.put(str(newest), b"written anew")
    assert newest == (await done.find_new_manifest(store, scope)).ref
    assert put_inventory(store, 10, []) == (await done.find_new_manifest(store, scope)).ref
