"""The HTTP API between real servers: what the allow-list hides, and who may ask at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from acceptance.conftest import SUBJECT, Site, uploader
from acceptance_support import wait_until
from fake_meilisearch import FakeMeilisearch
from imgtag.types.document import document_id
from imgtag.types.ref import ObjectRef
from integration.conftest import binary
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer
from web_support import TOKEN, WebClient

pytestmark = pytest.mark.timeout(180)

WEIRD = 'odd/a "quoted"; name=x\r\nSet-Cookie: a=b ☃ ü\\.jpg'
HIDDEN_KEY = "zanzibar/quixotic.jpg"
SCRIPT = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def web_site(folder: Any, minio: MinioServer, nats: NatsServer, index: FakeMeilisearch) -> Site:
    site = Site(folder)
    site.file.write_text(
        f'[store.s3]\nendpoint = "{minio.endpoint}"\naccess_key = "{minio.access_key}"\n'
        f'secret_key = "{minio.secret_key}"\n[source.nats]\nurl = "{nats.url}"\nsubject = "{SUBJECT}"\n'
        f'[indexer.meilisearch]\nurl = "{index.url}"\napi_key = "a key"\n'
        '[[rules]]\nbucket = "photos"\n[[rules]]\nbucket = "private"\n'
        f'[state]\ndir = "{site.base / "state"}"\n[ops]\nlisten = "127.0.0.1:0"\n[pipeline]\nworkers = 2\n'
        f'[web]\nlisten = "0.0.0.0:0"\ntoken = "{TOKEN}"\nbuckets = ["photos"]\nhosts = ["photos.example.com"]\n'
    )
    return site


@pytest.fixture(scope="module")
def world(tmp_path_factory, photographs) -> Iterator[tuple[Site, Any]]:
    """A sidecar on two buckets, of which the page may show one; and somebody who uploads."""
    folder = tmp_path_factory.mktemp("web")
    (folder / "site").mkdir()
    with (
        FakeMeilisearch("a key") as index,
        NatsServer(binary("nats-server"), folder / "nats") as nats,
        MinioServer(minio_binary(), folder / "minio", extra=lanes(nats, SUBJECT, folder / "queue")) as minio,
    ):
        site, user = web_site(folder / "site", minio, nats, index), uploader(minio)
        for bucket in ("photos", "private"):
            user.make_bucket(bucket)
        site.ask("setup", "--yes")
        with site.running():
            for key, name in (("cat.jpg", "cat"), ("garden/daisy.jpg", "daisy"), (WEIRD, "cat")):
                put(user, "photos", key, photographs[name])
            put(user, "photos", "evil.png", photographs["daisy"] + SCRIPT, "image/svg+xml")
            wait_until(lambda: len(site.found()) == 4, describe=lambda: str([hit["key"] for hit in site.found()]))
            yield site, user


@pytest.fixture(scope="module")
def web(world) -> WebClient:
    return WebClient(base_of(world[0]), **BEARER)


def base_of(site: Site) -> str:
    port = next(line["port"] for line in site.lines() if line["event"] == "web_listening")
    return f"http://127.0.0.1:{port}"


def put(user: Any, bucket: str, key: str, data: bytes, content_type: str = "image/jpeg") -> None:
    user.put_object(bucket, key, BytesIO(data), len(data), content_type=content_type)


def id_of(key: str, bucket: str = "photos") -> str:
    return document_id("local", ObjectRef(bucket, key))


def test_search_finds_what_the_command_finds(world, web):
    """The same objects in the same order, with the same labels, and a path to each thumbnail."""
    site, _ = world
    for query in ("cat", "daisy", "status:*", "-cat", "title:evil OR cat", "prefix:garden/", ""):
        expected = [(hit["bucket"], hit["key"], hit["labels"]) for hit in site.found(query)]
        answer = web.get("/api/search", q=query, facets="bucket,labels,category")

        assert expected == [(hit["bucket"], hit["key"], hit["labels"]) for hit in answer["hits"]]
        assert len(expected) == answer["total"]


PROBES = [
    "/api/search?q=&facets=bucket,labels,ancestors,category,prefixes,when_day,status,model,site,code",
    *(
        f"/api/search?q={query}&facets=labels,bucket"
        for query in (
            "espresso",
            "bucket:private",
            "bucket:PRIVATE",
            "status:*",
            "zanzibar",
            "quixotic",
            "quixotix",
            "title:quix*",
            "prefix:zan*",
            "-cat",
            "-bucket:photos",
            "cat OR bucket:private",
            "not (bucket:photos)",
            "label:esp*",
            "size>1",
        )
    ),
    "/api/search?q=espresso&offset=0&limit=0",
    "/api/facets?fields=bucket,top_label,prefixes,labels",
    "/api/facets?q=espresso&fields=labels",
    *(f"/api/suggest?prefix={prefix}&limit=50" for prefix in ("e", "es", "espresso", "q", "zan", "dr", "a")),
    f"/api/similar?id={id_of('cat.jpg')}&q=bucket:private",
    f"/api/similar?id={id_of('cat.jpg')}",
    f"/api/similar?id={id_of(HIDDEN_KEY, 'private')}",
    f"/api/objects/{id_of(HIDDEN_KEY, 'private')}",
    f"/api/objects/{id_of(HIDDEN_KEY, 'private')}/thumb",
    f"/api/objects/{id_of(HIDDEN_KEY, 'private')}/original",
    "/api/dashboard?q=espresso",
    "/api/dashboard?q=bucket:private",
]


def answer_to(web: WebClient, probe: str) -> tuple[int, bytes]:
    answer = web.ask(probe)
    return answer.status_code, answer.content


def test_nothing_that_is_answered_depends_on_a_hidden_bucket(world, web, photographs):
    """Objects come to the bucket that is not listed: every probe of every endpoint has the answer that it had before.

    Nobody who watches hears of it.
    """
    site, user = world
    before = [answer_to(web, probe) for probe in PROBES]

    with web.watching() as lines:
        put(user, "private", HIDDEN_KEY, photographs["espresso"])
        put(user, "private", "zanzibar/cat.jpg", photographs["cat"])
        wait_until(lambda: len(site.found("bucket:private")) == 2)
        user.remove_object("private", "zanzibar/cat.jpg")
        wait_until(lambda: len(site.found("bucket:private")) == 1)
        put(user, "photos", "later.jpg", photographs["daisy"])
        events = [json.loads(next(line for line in lines if line.startswith("data:"))[5:])]
    user.remove_object("photos", "later.jpg")
    wait_until(lambda: len(site.found("bucket:photos status:*")) == 4)

    assert ["later.jpg"] == [event["key"] for event in events]
    # A dashboard is kept for some seconds, so it is asked for in other words.
    after = [answer_to(web, probe.replace("dashboard?q=", "dashboard?q=%20")) for probe in PROBES]
    assert [] == [probe for probe, *answers in zip(PROBES, before, after, strict=True) if answers[0] != answers[1]]
    assert 404 == web.ask(f"/api/objects/{id_of(HIDDEN_KEY, 'private')}").status_code


def test_an_absent_object_and_a_hidden_one_are_answered_alike(web):
    """The very same bytes, so that an id cannot be tried."""
    for path in ("/api/objects/{}", "/api/objects/{}/thumb", "/api/objects/{}/original", "/api/similar?id={}"):
        hidden, absent = (web.ask(path.format(name)) for name in (id_of(HIDDEN_KEY, "private"), "0" * 64))

        assert (404, absent.content) == (hidden.status_code, hidden.content)


ALL = ["/api/search", "/api/facets", "/api/suggest?prefix=a", "/api/dashboard", "/api/arrivals"] + [
    path.format(id_of("cat.jpg"))
    for path in ("/api/objects/{}", "/api/objects/{}/thumb", "/api/objects/{}/original", "/api/similar?id={}")
]


@pytest.mark.parametrize("path", ALL)
def test_nobody_gets_in_without_the_token(world, path):
    """401 without one, with a wrong one, with half of it, and with a cookie that was made up."""
    stranger = WebClient(base_of(world[0]), address=f"127.0.1.{1 + ALL.index(path)}")  # tries count by address
    for headers in (
        {},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "imgtag_session=99999999999.0.0"},
        {"Cookie": f"imgtag_session={TOKEN}"},
    ):
        answer = stranger.ask(path, headers=headers)

        assert (401, "token") == (answer.status_code, answer.json()["error"]["code"])
        assert "Bearer" == answer.headers["www-authenticate"]
        assert TOKEN not in answer.text


def test_a_page_exchanges_the_token_for_a_cookie(world):
    """Scripts cannot read it, other sites do not send it, and after signing out it is worth nothing."""
    browser = WebClient(base_of(world[0]), Origin=base_of(world[0]))
    assert {"needed": True, "ok": False} == browser.get("/api/session")
    assert 401 == browser.ask("/api/session", "POST", json={"token": "not this one"}).status_code

    signed_in = browser.ask("/api/session", "POST", json={"token": TOKEN})

    assert 204 == signed_in.status_code
    cookie = signed_in.headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert {"needed": True, "ok": True} == browser.get("/api/session")
    assert 4 == browser.get("/api/search", q="status:*")["total"]
    kept = cookie.partition(";")[0]
    assert 204 == browser.ask("/api/session", "DELETE").status_code
    assert 401 == browser.ask("/api/search", headers={"Cookie": kept}).status_code


def test_a_cookie_is_secure_behind_tls(world):
    """The page was opened over HTTPS, which its Origin says."""
    browser = WebClient(base_of(world[0]), Origin="https://photos.example.com", Host="photos.example.com")

    assert "Secure" in browser.ask("/api/session", "POST", json={"token": TOKEN}).headers["set-cookie"]


@pytest.mark.parametrize(
    ("status", "method", "headers"),
    [
        (200, "GET", {}),
        (200, "GET", {"Host": "photos.example.com"}),
        (200, "GET", {"Host": "node7"}),
        (200, "GET", {"Host": "192.0.2.7:8080"}),
        (200, "GET", {"Sec-Fetch-Site": "same-origin"}),
        (200, "GET", {"Sec-Fetch-Site": "none"}),
        (421, "GET", {"Host": "rebound.example.org"}),
        (421, "GET", {"Host": "photos.example.com.evil.org"}),
        (403, "GET", {"Sec-Fetch-Site": "cross-site"}),
        (403, "GET", {"Sec-Fetch-Site": "same-site"}),
        (403, "GET", {"Origin": "https://evil.example.org"}),
        (403, "GET", {"Origin": "null"}),
        (403, "DELETE", {"Authorization": "", "Origin": "https://evil.example.org"}),
        (403, "DELETE", {"Authorization": "", "Sec-Fetch-Site": "cross-site"}),
        (403, "DELETE", {"Authorization": "", "Origin": "null"}),
        (204, "DELETE", {"Authorization": "", "Origin": "https://photos.example.com"}),
        (204, "DELETE", {"Origin": "https://tool.example.org"}),
        (204, "DELETE", {"Authorization": ""}),
    ],
)
def test_host_and_origin_are_checked(world, status, method, headers):
    """A name that was made to point here, and what another site makes a browser send, is refused; programs are not."""
    client = WebClient(base_of(world[0]))
    path = "/api/session" if method == "DELETE" else "/api/search"

    assert status == client.ask(path, method, headers={**BEARER, **headers}).status_code


def test_an_original_never_runs(web):
    """Markup that was uploaded as an image is saved, not shown; headers hold whatever the key is."""
    evil = web.ask(f"/api/objects/{id_of('evil.png')}/original")
    weird = web.ask(f"/api/objects/{id_of(WEIRD)}/original?download=true")

    assert "application/octet-stream" == evil.headers["content-type"]
    assert evil.headers["content-disposition"].startswith("attachment;")
    for answer in (evil, weird):
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "nosniff" == answer.headers["x-content-type-options"]
        assert "same-origin" == answer.headers["cross-origin-resource-policy"]
        assert "set-cookie" not in answer.headers
    assert "%0D%0ASet-Cookie" in weird.headers["content-disposition"]
    assert "attachment" in weird.headers["content-disposition"]


def test_ranges_of_an_original_are_those_of_the_object(web, photographs):
    """First, last, in between, none; a range that the object does not have is refused."""
    data, path = photographs["cat"], f"/api/objects/{id_of('cat.jpg')}/original"
    whole = web.ask(path)
    assert data == whole.content
    for header, expected in (
        ("bytes=0-0", data[:1]),
        ("bytes=100-199", data[100:200]),
        ("bytes=-7", data[-7:]),
        (f"bytes={len(data) - 1}-", data[-1:]),
        ("bytes=5-99999999", data[5:]),
    ):
        part = web.ask(path, headers={"Range": header})

        assert (206, expected) == (part.status_code, part.content)
    assert 416 == web.ask(path, headers={"Range": f"bytes={len(data)}-"}).status_code
    assert 304 == web.ask(path, headers={"If-None-Match": whole.headers["etag"]}).status_code
    for header in ("bytes=0-1,3-4", "lines=1-2", "bytes=9-5", "bytes=--1"):
        assert data == web.ask(path, headers={"Range": header}).content


def test_thumbnails_come_from_the_store(web):
    """One that the cache does not have is made of the object in the bucket; an object that is gone has none."""
    answer = web.ask(f"/api/objects/{id_of(WEIRD)}/thumb?width=100", headers={"Accept": "image/webp"})

    with Image.open(BytesIO(answer.content)) as picture:
        assert ("WEBP", 100) == (picture.format, picture.width)


def test_a_client_that_guesses_tokens_is_slowed_down(world):
    """After ten wrong ones it is told when to come back. It has an address of its own: others sent wrong ones, too."""
    client = WebClient(base_of(world[0]), address="127.0.0.9")
    statuses = [client.ask("/api/search", headers={"Authorization": f"Bearer {n:020}"}).status_code for n in range(15)]

    assert [401] * 10 == statuses[:10]
    assert 429 == statuses[-1]
    assert 429 == client.ask("/api/search", headers=BEARER).status_code


def test_no_log_and_no_metric_has_the_token(world):
    """Neither do the answers: `config show` masks it, too."""
    site, _ = world

    assert TOKEN not in site.log.read_text()
    assert TOKEN not in site.get("/metrics")
    assert TOKEN not in site.ask("config", "show")
