"""What looks like a picture, as it is asked for."""

from __future__ import annotations

import json
from io import BytesIO

import pytest
from PIL import Image, ImageEnhance, ImageOps

from acceptance.conftest import Site
from acceptance_support import wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def album(tmp_path_factory, photographs):
    """A labelled folder: some photographs, and of one of them a variant: cut, mirrored, darker, of lower quality."""
    site = Site(tmp_path_factory.mktemp("album"))
    for name, content in photographs.items():
        (site.root / f"{name}.jpg").write_bytes(content)
    (site.root / "deep").mkdir()
    (site.root / "deep" / "variant.jpg").write_bytes(_variant(photographs["cat"]))
    with site.running():
        wait_until(lambda: len(site.found("status:*")) == len(photographs) + 1)
        yield site


def _variant(content: bytes) -> bytes:
    with Image.open(BytesIO(content)) as opened:
        width, height = opened.size
        cut = opened.convert("RGB").crop((width // 10, height // 20, width, height * 9 // 10))
    file = BytesIO()
    ImageEnhance.Brightness(ImageOps.mirror(cut)).enhance(0.7).save(file, "JPEG", quality=60)
    return file.getvalue()


def test_the_variant_of_a_photograph_is_nearest(album):
    """First by BUCKET/KEY and by the file; never the picture itself; the similarity is a number up to 1."""
    assert "pictures/deep/variant.jpg" == album.run("similar", "--keys", "pictures/cat.jpg").splitlines()[0]
    assert "pictures/cat.jpg\n" == album.ask("similar", "--keys", "--limit", "1", str(album.root / "deep/variant.jpg"))

    lines = [json.loads(line) for line in album.ask("similar", "--json", "s3://pictures/cat.jpg").splitlines()]

    similarities = [line["similarity"] for line in lines]
    assert sorted(similarities, reverse=True) == similarities
    assert 1 >= similarities[0] > 0.7 > similarities[1]
    assert "pictures/cat.jpg" not in [f"{line['bucket']}/{line['key']}" for line in lines]
    assert not {"scores", "_vectors"} & lines[0].keys()


def test_a_query_narrows_what_is_similar(album):
    """As in a search; the table has the similarity first."""
    assert [] == album.ask("similar", "--keys", "pictures/cat.jpg", "bucket:nosuch").splitlines()
    head, first, *_ = album.ask("similar", "pictures/cat.jpg", "prefix:deep/").splitlines()

    assert ["similarity", "object", "labels", "when"] == head.split()
    assert "pictures/deep/variant.jpg" == first.split()[1]
    assert "^" in album.ask_wrongly("similar", "pictures/cat.jpg", "size>ten", code=2)


def test_what_cannot_be_compared_is_said_so(album):
    """An object that nobody knows, a name that is none, and a picture that could not be decoded."""
    (album.root / "broken.jpg").write_text("no picture")
    wait_until(lambda: album.found("status:failed"))

    assert "pictures/nowhere.jpg is not in the index" in album.ask_wrongly("similar", "pictures/nowhere.jpg", code=1)
    assert "write BUCKET/KEY" in album.ask_wrongly("similar", "nowhere", code=2)
    output = album.ask_wrongly("similar", "pictures/broken.jpg", code=1)
    assert "pictures/broken.jpg cannot be compared with others: its status is failed" in output
    assert "hint: " in output


def test_vectors_are_switched_off(site, photographs):
    """Without `vec` in [labels] keep nothing is written for them, and nothing is similar."""
    site.configure('[labels]\nkeep = ["facts", "raw"]')
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    site.start()
    wait_until(site.found)

    assert "it has no vector" in site.ask_wrongly("similar", "pictures/cat.jpg", code=1)
    assert "space" not in site.found()[0]
