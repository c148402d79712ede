"""The HTTP API on a folder: thumbnails pixel by pixel, labelling what is sent, arrivals, and what clients try."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from acceptance.conftest import Site
from acceptance_support import wait_until
from imgtag.types.document import document_id
from imgtag.types.ref import ObjectRef
from web_support import TOKEN, WebClient

pytestmark = pytest.mark.timeout(120)

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 30)
CORNERS = (RED, GREEN, BLUE, YELLOW)
"""Of the upright picture: upper left, upper right, lower left, lower right."""
UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a camera stores an upright picture, by EXIF orientation."""
SIZE = 800, 400


def quarters(mode: str = "RGB") -> Image.Image:
    """A picture of four colours, twice as wide as it is high."""
    picture = Image.new("RGB", SIZE)
    for place, colour in enumerate(CORNERS):
        picture.paste(colour, (place % 2 * 400, place // 2 * 200, place % 2 * 400 + 400, place // 2 * 200 + 200))
    return picture.convert(mode)


def fill(root: Path) -> None:
    upright = quarters()
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright.transpose(UNDO[orientation]) if orientation in UNDO else upright
        stored.save(root / f"turned{orientation}.jpg", quality=95, exif=exif)
    quarters("RGBA").save(root / "transparent.png")
    quarters("P").save(root / "palette.gif")
    quarters("CMYK").save(root / "print.jpg", quality=95)
    upright.save(root / "modern.webp", lossless=True)
    upright.save(root / "modern.avif", quality=95)
    upright.save(root / "scan.tif")
    upright.resize((1200, 600)).save(root / "large.tif")
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + b"no picture" * 500)


@pytest.fixture(scope="module")
def site(tmp_path_factory, photographs) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("web-folder"))
    site.configure('[web]\nlisten = "127.0.0.1:0"\nthumbnail_cache = "100 kB"')
    fill(site.root)
    for name, data in photographs.items():
        (site.root / f"{name}.jpg").write_bytes(data)
    with site.running():
        wait_until(lambda: len(site.found("status:*")) == len(list(site.root.iterdir())))
        yield site


@pytest.fixture(scope="module")
def web(site) -> WebClient:
    port = next(line["port"] for line in site.lines() if line["event"] == "web_listening")
    return WebClient(f"http://127.0.0.1:{port}")


def thumb(key: str) -> str:
    return f"/api/objects/{document_id('local', ObjectRef('pictures', key))}/thumb"


def shown(web: WebClient, key: str, accept: str = "image/jpeg", **parameters: object) -> Image.Image:
    answer = web.ask(thumb(key), params=parameters, headers={"Accept": accept})
    assert 200 == answer.status_code, answer.text
    picture = Image.open(BytesIO(answer.content))
    picture.load()
    return picture


def colours(picture: Image.Image) -> list[str]:
    """The colours of the middles of the four quarters."""
    names = dict(zip(CORNERS, "RGBY", strict=True))
    pixels = (
        picture.convert("RGB").getpixel((round(picture.width * x), round(picture.height * y)))
        for y in (0.25, 0.75)
        for x in (0.25, 0.75)
    )
    return [names[min(CORNERS, key=lambda c: sum((a - b) ** 2 for a, b in zip(c, p, strict=True)))] for p in pixels]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_thumbnail_is_upright_however_the_camera_was_held(web, orientation):
    """The orientation in the EXIF is applied, and nothing of the EXIF is left."""
    picture = shown(web, f"turned{orientation}.jpg", width=200)

    assert ((200, 100), list("RGBY")) == (picture.size, colours(picture))
    assert {} == dict(picture.getexif())


@pytest.mark.parametrize(
    "key", ["transparent.png", "palette.gif", "print.jpg", "modern.webp", "modern.avif", "scan.tif"]
)
def test_any_format_becomes_one_that_browsers_show(web, key):
    """Alpha, palettes, CMYK and TIFF, too."""
    picture = shown(web, key, width=200)

    assert ("JPEG", (200, 100), list("RGBY")) == (picture.format, picture.size, colours(picture))


@pytest.mark.parametrize(
    ("parameters", "size", "expected"),
    [
        ({}, (320, 160), "RGBY"),
        ({"width": 100}, (100, 50), "RGBY"),
        ({"height": 100}, (200, 100), "RGBY"),
        ({"width": 100, "height": 100}, (100, 50), "RGBY"),
        ({"width": 100, "height": 100, "crop": "cover"}, (100, 100), "RGBY"),
        ({"width": 100, "rotate": 90}, (100, 200), "BRYG"),
        ({"width": 100, "rotate": 180}, (100, 50), "YBGR"),
        ({"width": 100, "rotate": 270}, (100, 200), "GYRB"),
        ({"width": 100, "crop": "0.5,0,0.5,0.5"}, (100, 50), "GGGG"),
        ({"width": 100, "crop": "0,0.5,.5,.5", "rotate": 90}, (100, 200), "BBBB"),
        ({"width": 2048, "height": 2048}, (800, 400), "RGBY"),
        ({"width": 1, "height": 1}, (1, 1), None),
    ],
)
def test_size_part_and_rotation_are_those_asked_for(web, parameters, size, expected):
    """Compared by the colours of what is shown. Nothing is enlarged."""
    picture = shown(web, "turned6.jpg", **parameters)

    assert size == picture.size
    if expected:
        assert list(expected) == colours(picture)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("image/webp", "WEBP"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "WEBP"),
        ("image/avif", "AVIF"),
        ("image/avif;q=1, image/webp;q=0.5", "AVIF"),
        ("image/jpeg", "JPEG"),
        ("*/*", "JPEG"),
        ("", "JPEG"),
        ("image/webp;q=0, image/jpeg;q=0.1", "JPEG"),
        ("nonsense;;q=x,,", "JPEG"),
    ],
)
def test_the_format_follows_accept(web, accept, form):
    """Of formats that a browser takes alike, the one that costs the least to make; the same picture in each."""
    picture = shown(web, "turned1.jpg", accept, width=160)

    assert (form, list("RGBY")) == (picture.format, colours(picture))


def test_a_thumbnail_that_is_there_is_not_sent_again(web):
    """Its ETag is strong, and another one for each size and format."""
    tags = {
        web.ask(thumb("turned1.jpg"), params={"width": width}, headers={"Accept": accept}).headers["etag"]
        for width in (100, 101)
        for accept in ("image/webp", "image/jpeg")
    }
    assert 4 == len(tags)
    assert all(tag.startswith('"') for tag in tags)
    for tag in tags:
        headers = {"Accept": "image/jpeg", "If-None-Match": f'"other", {tag}'}
        statuses = [web.ask(thumb("turned1.jpg"), params={"width": n}, headers=headers).status_code for n in (100, 101)]
        assert sorted(statuses) in ([200, 200], [200, 304])


def test_thumbnails_are_kept_on_disk_up_to_the_limit(site, web):
    """They are made once, outlive a restart of nothing but the process, and never take more than they may."""
    made = 'imgtag_web_thumbnails_total{source="made"}'
    shown(web, "cat.jpg", width=77)
    before = site.metric(made)
    shown(web, "cat.jpg", width=77)
    assert before == site.metric(made)

    for width in range(400, 500, 10):
        shown(web, "espresso.jpg", width=width)

    files = [path for path in (site.base / "state" / "thumbnails").rglob("*") if path.is_file()]
    assert 50_000 < sum(path.stat().st_size for path in files) <= 100_000
    assert {0o600} == {path.stat().st_mode & 0o777 for path in files}
    assert 0 < site.metric("imgtag_web_bytes_saved_total")


def test_what_is_no_picture_has_no_thumbnail(web):
    """422 with the reason, and the listener goes on."""
    for _ in range(2):
        answer = web.ask(thumb("broken.jpg"))

        assert 422 == answer.status_code
        assert answer.json()["error"]["message"]
    assert 200 == web.ask(thumb("cat.jpg")).status_code


HOSTILE = [
    ("/api/search?limit=-1", 400),
    ("/api/search?limit=1e9", 400),
    ("/api/search?offset=999999999999", 400),
    ("/api/search?confidence=nan", 400),
    ("/api/search?confidence=inf", 400),
    ("/api/search?facets=_vectors", 400),
    ("/api/search?facets=scores.cat", 400),
    ("/api/search?facets=" + ",".join(["labels", "bucket", "category"] * 200), 200),
    ("/api/search?sort=key", 400),
    ("/api/search?nothing=1", 400),
    ("/api/search?q=" + "a" * 4001, 400),
    ("/api/search?q=" + "(" * 36 + "cat" + ")" * 36, 400),
    ("/api/search?q=" + "(" * 35 + "cat" + ")" * 35, 200),
    ("/api/search?q=" + "%20".join(["cat"] * 201), 400),
    ("/api/search?q=%22cat", 400),
    ("/api/search?q=%00%ff%fe", 200),
    ("/api/suggest", 400),
    ("/api/suggest?prefix=" + "a" * 101, 400),
    ("/api/similar?id=../../etc/passwd", 404),
    ("/api/objects/%2e%2e%2f%2e%2e", 404),
    ("/api/objects/" + "G" * 64, 404),
    (thumb("cat.jpg") + "?width=0", 400),
    (thumb("cat.jpg") + "?width=2049", 400),
    (thumb("cat.jpg") + "?width=1e3", 400),
    (thumb("cat.jpg") + "?rotate=45", 400),
    (thumb("cat.jpg") + "?crop=0,0,2,2", 400),
    (thumb("cat.jpg") + "?crop=0,0,0,0", 400),
    (thumb("cat.jpg") + "?crop=nan,0,1,1", 400),
    (thumb("cat.jpg") + "?crop=-1,0,1,1", 400),
    ("/page/../../../config/schema.py", 404),
    ("/page/%2e%2e/%2e%2e/__init__.py", 404),
    ("/page//etc/passwd", 404),
    ("/page/..%2f..%2fapi.py", 404),
    ("/api/", 404),
    ("/status", 404),
    ("/metrics", 404),
]


@pytest.mark.parametrize(("path", "status"), HOSTILE)
def test_what_a_client_should_not_ask_is_answered_plainly(web, path, status):
    """The status, and an error with code, message and hint; never a traceback or a file."""
    answer = web.ask(path)

    assert status == answer.status_code, answer.text[:300]
    if status != 200 and path.startswith("/api/"):
        assert {"code", "message", "hint"} <= set(answer.json()["error"])
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    for word in ("Traceback", "site-packages", "import "):
        assert word not in answer.text


def test_an_original_larger_than_a_part_is_sent_whole(site, web):
    """And ranges that lie in several parts; while the file changes, nothing of another one is sent."""
    data = (site.root / "large.tif").read_bytes()
    path = thumb("large.tif").replace("thumb", "original")
    assert len(data) > 2 << 20

    assert data == web.ask(path).content
    part = web.ask(path, headers={"Range": f"bytes={(1 << 20) - 3}-{(2 << 20) + 3}"})
    assert data[(1 << 20) - 3 : (2 << 20) + 4] == part.content
    assert b"" == web.ask(path, "HEAD").content


def test_a_wrong_query_is_answered_with_its_place(web):
    """From and to, in characters, so that a page can mark it."""
    answer = web.ask("/api/search", params={"q": "cat size>big"}).json()["error"]

    assert ("query", {"from": 9, "to": 12}) == (answer["code"], answer["position"])


def test_a_word_that_nobody_knows_has_suggestions(web):
    """As on the command line; and what the model knows near it."""
    answer = web.get("/api/search", q="tigger_cat")

    assert [("tigger cat", "tiger cat")] == [(note["word"], note["near"][0]) for note in answer["notes"]] or answer[
        "near"
    ]
    assert "tiger cat" in str(answer)


def test_a_query_is_shown_in_parts(web):
    """Each can be taken away alone."""
    form = web.get("/api/search", q='cat  -dog and size>1kB (wolf or fox) title:"a b"')["query"]

    assert ["cat", "-dog", "size>1kB", "(wolf or fox)", 'title:"a b"'] == [chip["text"] for chip in form["chips"]]
    assert [False, True, False, False, False] == [chip["negative"] for chip in form["chips"]]
    assert 'cat size>1kB (wolf or fox) title:"a b"' == form["chips"][1]["without"]


def test_an_image_that_is_sent_is_labelled_and_not_kept(site, web, photographs):
    """With the labels of `imgtag label`; nothing new is in the folder or in the index."""
    before = len(site.found("status:*"))
    answer = web.ask("/api/label", "POST", content=photographs["espresso"]).json()
    expected = json.loads(site.ask("label", "--json", str(site.root / "espresso.jpg")))

    assert expected["labels"] == answer["labels"]
    assert expected["model"] == answer["model"]
    assert before == len(site.found("status:*"))
    for content, status in ((b"no picture", 422), (b"", 422)):
        assert status == web.ask("/api/label", "POST", content=content).status_code
    assert 411 == web.ask("/api/label", "POST", content=iter([b"a", b"b"])).status_code
    request = b"POST /api/label HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n"
    assert web.raw(request).startswith(b"HTTP/1.1 413 ")


def test_all_that_is_known_of_an_object(site, web):
    """The document without its vector, the file, and what the mark on it says."""
    (hit,) = site.found("title:cat")
    answer = web.get(f"/api/objects/{hit['id']}")

    assert hit["labels"] == answer["labels"]
    assert str(site.root / "cat.jpg") == answer["location"]
    assert hit["model"] == f"{answer['provenance']['model']}@{answer['provenance']['model_digest']}"
    assert answer["provenance"]["content"]
    assert not {"_vectors", "scores"} & set(answer)


def test_similar_images_are_those_of_the_command(site, web):
    """The same order and the same numbers."""
    expected = [json.loads(line) for line in site.ask("similar", "--json", "pictures/cat.jpg").splitlines()]
    answer = web.get("/api/similar", id=document_id("local", ObjectRef("pictures", "cat.jpg")))

    pairs = [[(hit["key"], hit["similarity"]) for hit in hits] for hits in (expected, answer["hits"])]
    assert pairs[0] == pairs[1]


def test_the_dashboard_counts_what_the_index_has(site, web):
    """Objects by status, labels, failures by code; the parts that answer."""
    answer = web.get("/api/dashboard")

    counts = {status: len(site.found(f"status:{status}")) for status in ("labelled", "unlabelled", "failed", "refused")}
    assert counts == {name: answer["totals"][name] for name in counts}
    assert counts["failed"] + counts["refused"] == sum(answer["failures"].values())
    assert counts["labelled"] >= sum(part["count"] for part in answer["confidence"]) > 0
    assert (True, True) == (answer["store"]["ok"], answer["index"]["ok"])
    assert 0 == answer["stale"]


def test_who_watches_sees_what_arrives_and_what_goes(site, web, photographs):
    """An arrival with the hit; and the id of what was removed."""
    with web.watching() as lines:
        (site.root / "new.jpg").write_bytes(photographs["daisy"])
        arrived = json.loads(next(line for line in lines if line.startswith("data:"))[5:])
        (site.root / "new.jpg").unlink()
        while (event := next(lines)) != "event: changed":
            pass
        gone = json.loads(next(lines)[5:])

    assert ("new.jpg", "daisy") == (arrived["key"], arrived["top_label"])
    assert "event: changed" == event
    assert arrived["id"] == gone["id"]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /api/search HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET /api/search?q=" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET http://evil.example/api/search HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
        b"POST /api/label HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/session HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /api/search HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
    ],
)
def test_broken_and_slow_requests_end(web, request_):
    """Oversized headers, foreign hosts, two lengths, TLS, a request without an end: each connection is closed."""
    answer = web.raw(request_)

    assert answer == b"" or answer.split(b" ")[1][:1] == b"4", answer[:200]


def test_the_page_lies_beside_the_api(web):
    """It is served without a token, and may load only what is here."""
    answer = web.ask("/")

    assert 200 == answer.status_code
    assert "text/html" in answer.headers["content-type"]
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe-inline" not in answer.headers["content-security-policy"]


def test_a_new_configuration_is_taken_without_a_restart(tmp_path):
    """A token and another port; where the port is not free, all stays as it is."""
    site = Site(tmp_path)
    site.configure('[web]\nlisten = "127.0.0.1:0"')
    with site.running(), socket.create_server(("127.0.0.1", 0)) as taken:
        site.configure(f'[web]\nlisten = "127.0.0.1:{taken.getsockname()[1]}"')
        site.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "config_rejected" in site.events())
        base = f"http://127.0.0.1:{web_ports(site)[-1]}"
        assert 200 == WebClient(base).ask("/api/search").status_code

        site.configure(f'[web]\nlisten = "localhost:0"\ntoken = "{TOKEN}"')
        site.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(web_ports(site)) == 2)
        assert 401 == WebClient(f"http://127.0.0.1:{web_ports(site)[-1]}").ask("/api/search").status_code


def web_ports(site: Site) -> list[int]:
    return [line["port"] for line in site.lines() if line["event"] == "web_listening"]


def test_an_address_that_others_reach_needs_a_token(tmp_path):
    """Exit 78 at the start, with what to write."""
    site = Site(tmp_path)
    site.configure('[web]\nlisten = "0.0.0.0:8080"')
    assert "web.token: is required" in site.fails("run", code=78)
    site.configure('[web]\nlisten = "0.0.0.0:8080"\ntoken = "short"')
    assert "web.token" in site.ask("config", "check", code=78)
    (tmp_path / "web_token").write_text("a token in a file of its own\n")
    site.configure('[web]\nlisten = "0.0.0.0:8080"\ntoken_file = "web_token"')
    site.ask("config", "check")
