"""`imgtag dataset` and `imgtag.dataset` on a real MinIO and in a folder."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from acceptance.conftest import Site
from imgtag.dataset import ImageDataset
from imgtag_s3 import SPEC
from integration.conftest import binary
from integration.s3.bucket import Bucket
from servers.minio import MinioServer, minio_binary
from servers.nats import NatsServer
from servers.s3_client import S3Client

COFFEE = "espresso@0.3"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, photographs: dict[str, bytes]) -> Iterator[tuple[Site, Bucket]]:
    """Photographs that are labelled in one bucket, others that are not in another, and a bucket for copies."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "site").mkdir()
    site = Site(folder / "site")
    with (
        NatsServer(binary("nats-server"), folder / "nats") as nats,
        MinioServer(minio_binary(), folder / "minio") as minio,
        closing(S3Client(SPEC.settings(**minio.settings))) as client,
    ):
        site.connect(minio, nats, '[[rules]]\nbucket = "photos"\n')
        photos, raw, sets = (Bucket(client, name) for name in ("photos", "raw", "sets"))
        for bucket in (photos, raw, sets):
            bucket.make()
        jpeg = {"Content-Type": "image/jpeg"}
        for number in range(3):
            for name, data in photographs.items():
                photos.put_with(f"{number}/{name}.jpg", data + b"%d" % number, jpeg | {"x-amz-meta-by": "me"})
        raw.put_with("a.jpg", photographs["cat"], jpeg)
        raw.put_with("b.jpg", photographs["espresso"], jpeg)
        for number in range(20):
            raw.put_with(f"c/{number:02}.jpg", photographs["cat"] + b"%d" % number, jpeg)
        site.ask("backfill", "--full-speed", "--yes")
        yield site, sets


def _keys(bucket: Bucket) -> list[str]:
    listing = bucket.client.send("GET", bucket.name, query={"list-type": "2"}).data.decode()
    return [part.partition("</Key>")[0] for part in listing.split("<Key>")[1:]]


def _last(output: str) -> dict:
    return json.loads(output.splitlines()[-1])


def test_copy_what_is_labelled(store):
    """Folders by label, whole objects; a second run copies nothing; what lies in the way is kept; rules are minded."""
    site, sets = store
    copy = partial(site.ask, "dataset", "copy", COFFEE, "--json", "--yes", "--to")

    planned = [json.loads(line) for line in copy("sets/one", "--dry-run").splitlines()]
    assert [] == _keys(sets)
    assert 3 == _last(copy("sets/one"))["copied"]
    assert [f"one/espresso/photos~1{number}~1espresso.jpg" for number in range(3)] == _keys(sets)
    assert [f"sets/{key}" for key in _keys(sets)] == [line["to"] for line in planned[:-1]]
    headers = sets.headers("one/espresso/photos~11~1espresso.jpg")
    assert ("me", "image/jpeg") == (headers["x-amz-meta-by"], headers["content-type"])

    again = _last(copy("sets/one"))
    assert (0, 3) == (again["copied"], again["present"])
    sets.put("one/espresso/photos~11~1espresso.jpg", b"something else")
    blocked = _last(copy("sets/one", code=1))
    assert {"exists": 1} == blocked["refused"]
    assert b"something else" == sets.get("one/espresso/photos~11~1espresso.jpg")
    assert "rules[0] admits photos/" in site.ask_wrongly("dataset", "copy", COFFEE, "--yes", "--to", "photos/x", code=2)
    assert 2 == _last(copy("sets/two", "--limit", "2"))["labels"]["espresso"]


def test_copy_what_is_found_by_looking(store):
    """Images that nobody labelled are classified, and nothing is written on them; misses in a row end it."""
    site, sets = store
    raw = Bucket(sets.client, "raw")
    before = {key: raw.headers(key) for key in _keys(raw)}
    options = ["--json", "--yes", "--to", "sets/found", "--from", "raw", "--stop-after-misses", "5"]
    done = _last(site.ask("dataset", "copy", COFFEE, *options))
    assert (7, 1, True) == (done["looked_at"], done["copied"], done["stopped_early"])
    assert "found/espresso/raw~1b.jpg" in _keys(sets)
    assert before == {key: raw.headers(key) for key in _keys(raw)}
    assert [] == site.found("bucket:raw")


def test_manifests(store):
    """On stdout or in a file, in a stable order."""
    site, _ = store
    lines = [json.loads(line) for line in site.run("dataset", "manifest", COFFEE).splitlines()]
    assert [f"{number}/espresso.jpg" for number in range(3)] == [line["key"] for line in lines]
    file = site.base / "coco.json"
    site.ask("dataset", "manifest", "--format", "coco", "--output", str(file))
    assert 9 == len(json.loads(file.read_bytes())["images"])


def test_a_loader_with_processes(store):
    """As torch's DataLoader works: the dataset is pickled to new processes, or forked after it was used here."""
    site, _ = store
    dataset = ImageDataset("status:labelled", config=site.file, size=(64, 48), as_array=True)
    assert 9 == len(dataset)
    assert {3} == set(Counter(dataset.targets).values())
    image, label = dataset[1]
    assert ((48, 64, 3), "photos/0/daisy.jpg") == (image.shape, dataset.ref(1)), "in the order of keys"
    assert "daisy" in dataset.classes[label] or dataset.classes[label]

    expected = [((48, 64, 3), target) for target in dataset.targets]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert expected == [(image.shape, label) for image, label in pool.map(dataset.__getitem__, range(9))]
    forking = multiprocessing.get_context("fork")
    queue = forking.Queue()
    forked = forking.Process(target=lambda: queue.put([(image.shape, label) for image, label in dataset]), daemon=True)
    forked.start()
    assert expected == queue.get(timeout=60)
    forked.join(60)
    assert expected[1] == (dataset[1][0].shape, dataset[1][1]), "the parent's connection still works"
    assert dataset.targets == pickle.loads(pickle.dumps(dataset)).targets
    dataset.close()


def test_in_a_folder(site: Site, photographs):
    """Copies are files with the bytes and times of the originals; the whole folder is admitted, so it takes --force."""
    for name, data in photographs.items():
        Path(site.root, f"{name}.jpg").write_bytes(data)
    site.ask("backfill", "--full-speed", "--yes")
    bucket = site.root.name
    assert "would be labelled" in site.ask_wrongly("dataset", "copy", COFFEE, "--yes", "--to", f"{bucket}/sets", code=2)

    force = ["dataset", "copy", COFFEE, "--yes", "--force", "--json", "--to", f"{bucket}/sets"]
    assert 1 == _last(site.ask(*force))["copied"]
    made = Path(site.root, "sets/espresso", f"{bucket}~1espresso.jpg")
    assert photographs["espresso"] == made.read_bytes()
    assert Path(site.root, "espresso.jpg").stat().st_mtime_ns == made.stat().st_mtime_ns
    assert 1 == _last(site.ask(*force))["present"]

    dataset = ImageDataset("espresso@0.3", config=site.file, transform=lambda image: image.size, rotate=90)
    with closing(dataset):
        [(size, label)] = list(dataset)
    assert ("espresso", True) == (dataset.classes[label], size[0] < size[1])
