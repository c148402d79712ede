"""Inventories that are objects on a real MinIO, and lists as its own client writes them."""

import io
import json
import os
import subprocess
from hashlib import md5

import pytest

from imgtag.jobs import inventory as module
from imgtag.jobs.inventory import InventoryError, find_newest_manifest, open_inventory
from imgtag.jobs.key_list import KeyListFormat, read_keys
from imgtag.types.ref import ObjectRef, Scope
from integration.conftest import binary
from unit.jobs.inventories import manifest, row, to_csv

KEYS = [f"{number:05}.jpg" for number in range(5_000)]
FOLDER = "lists/pictures/weekly"


@pytest.fixture
def inventory(bucket):
    """An inventory in parts of two data files."""
    files = {
        f"{FOLDER}/data/{name}.csv.gz": to_csv([row(key, ETag=md5(key.encode()).hexdigest()) for key in keys])
        for name, keys in {"1": KEYS[:10], "2": KEYS[10:]}.items()
    }
    for name, data in files.items():
        bucket.put(name, data)
    content = manifest(files)
    bucket.put(f"{FOLDER}/2026-11-27T01-00Z/manifest.json", content)
    bucket.put(f"{FOLDER}/2026-11-27T01-00Z/manifest.checksum", md5(content).hexdigest().encode())
    return bucket


def read(portal, store, ref, tmp_path):
    async def collect():
        inventory = await open_inventory(store, ref, buckets={"pictures"}, spool=tmp_path)
        return [candidate.ref.key async for candidate in inventory.read(lambda rejection: pytest.fail(str(rejection)))]

    return portal.call(collect)


def test_an_inventory_is_read_in_parts(portal, connect, inventory, tmp_path, monkeypatch):
    """Its newest manifest is found below a prefix, and a data file of any length takes the memory of a part."""
    monkeypatch.setattr(module, "_PART", 50_000)
    with portal.wrap_async_context_manager(connect()) as store:
        newest = portal.call(find_newest_manifest, store, Scope(inventory.name, "lists/"))
        assert KEYS == read(portal, store, newest.ref, tmp_path)

        inventory.put(f"{FOLDER}/data/2.csv.gz", to_csv([row("other.jpg")]))
        with pytest.raises(InventoryError, match=r"data/2\.csv\.gz: it is cut off or was changed"):
            read(portal, store, newest.ref, tmp_path)


LS, FIND = ["ls", "--recursive"], ["find"]


@pytest.mark.parametrize(
    ("prefix", "commands"),
    [("", [LS, FIND]), ("a b+c%41/", [LS, FIND]), ("ü?#/日 ", [LS])],
    ids=["bucket", "folder", "part"],
)
def test_what_mc_writes(portal, minio, bucket, tmp_path, prefix, commands):
    """Objects of any prefix come out under the name that they have."""
    keys = {f"{prefix}red fox.jpg", f"{prefix}x/y+%41.jpg"}
    for key in keys:
        bucket.put(key, b"fox")
    config = tmp_path / "mc" / "config.json"
    config.parent.mkdir()
    alias = {"url": minio.endpoint, "accessKey": minio.access_key, "secretKey": minio.secret_key, "api": "S3v4"}
    config.write_text(json.dumps({"version": "10", "aliases": {"home": alias}}))

    for command in commands:
        arguments = ["--config-dir", config.parent, *command, "--json", f"home/{bucket.name}/{prefix}"]
        output = subprocess.run(
            [binary("mc"), *arguments], check=True, capture_output=True, env=os.environ | {"HOME": str(tmp_path)}
        ).stdout

        async def collect(lines=output):
            shape = KeyListFormat(shape="mc")
            return {
                candidate.ref
                async for candidate in read_keys(io.BytesIO(lines), "mc", shape, lambda line: pytest.fail(str(line)))
            }

        assert {ObjectRef(bucket.name, key) for key in keys} == portal.call(collect), command
