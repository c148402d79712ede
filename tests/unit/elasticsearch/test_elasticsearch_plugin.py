"""What the plugin says and sends, without a server."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
from pydantic import ValidationError

from imgtag.errors import ConfigError, DocumentError, Unavailable
from imgtag.plugin.spec import PluginContext, PluginSpec
from imgtag.testing import document
from imgtag_elasticsearch import SPEC
from imgtag_elasticsearch.client import Client, configure_node
from imgtag_elasticsearch.document import decode, encode
from imgtag_elasticsearch.errors import IndexMissing, ReadOnly, Refused, TooComplex, TooLarge, map_answer
from imgtag_elasticsearch.fields import PROPERTIES
from imgtag_elasticsearch.indexer import ElasticsearchIndexer
from imgtag_elasticsearch.settings import ElasticsearchSettings
from imgtag_elasticsearch.versions import VersionClock
from servers.minio import make_certificate
from unit.sqlite.documents import documents


def test_import_is_light():
    """What announces the plugin loads neither HTTP nor the library that sends requests."""
    names = ("elastic_transport", "urllib3")
    program = f"import sys, imgtag_elasticsearch; print([name for name in {names} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[]" == process.stdout.strip()
    assert isinstance(SPEC, PluginSpec)
    assert "ElasticsearchIndexer" == SPEC.load().__name__


def test_without_its_library_the_plugin_says_so():
    """The hint names the extra; the plugin itself is listed like any other."""
    program = (
        "import sys; sys.modules['elastic_transport'] = None\n"
        "from imgtag_elasticsearch import SPEC\nfrom imgtag_elasticsearch.client import Client\nSPEC.load()\n"
        "try: Client(SPEC.settings())\nexcept Exception as error: print(error.message, error.hint)"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "elastic_transport is not installed pip install 'imgtag-sidecar[elasticsearch]'" == process.stdout.strip()


@pytest.mark.parametrize("world", [documents(50), [document("a.jpg", {"x": 0.2}, user={"a.b": "C", "a": "d"})]])
def test_documents_come_back(world):
    """What is derived for the search is taken off again."""
    for each in world:
        assert each == decode(json.loads(encode(each, with_vector=True)))


def test_what_is_derived():
    """Labels and ancestors with their confidence, the surest first; the vector only where the index takes one."""
    made = document("a.jpg", {"kit fox": 0.6}, ancestors={"animal": 0.9}, facts={"lat": 46.5, "lng": 7.9})
    made = {**made, "space": "s", "_vectors": {"img": [1] * 128}, "when": -28_501_070_400}
    source = json.loads(encode(made, with_vector=True))

    assert source["labels"] == [
        {"name": "animal", "confidence": 0.9, "ancestor": True},
        {"name": "kit fox", "confidence": 0.6, "ancestor": False},
    ]
    assert (["kit fox"], {"lat": 46.5, "lon": 7.9}) == (source["label_names"], source["place"])
    assert ("1066-11-02T12:00:00Z", [1] * 128) == (source["date"], source["vector"])
    assert "vector" not in json.loads(encode(made, with_vector=False))
    assert set(source) - {"vector"} <= {*PROPERTIES, *made}


@pytest.mark.parametrize(
    "wrong",
    [
        {"camera": object()},
        {"width": float("nan")},
        {"size": True},
        {"key": ""},
        {"title": "\ud800"},
        {"_geo": {"lat": 91, "lng": 0}},
        {"scores": {"fox": None}},
        {"space": "s", "_vectors": {"img": [1.0]}},
    ],
    ids=lambda wrong: next(iter(wrong)),  # the text of an object has its address, which differs between processes
)
def test_what_cannot_be_indexed(wrong):
    """It is one document's fault, and found before anything is sent."""
    with pytest.raises(DocumentError):
        encode({**document("a.jpg", {"fox": 0.5}), **wrong}, with_vector=True)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"url": "http://elastic:secret@es:9200"}, "addresses are logged"),
        ({"url": "es:9200"}, "http://HOST:PORT"),
        ({"url": "https://a,ftp://b"}, "http://HOST:PORT"),
        ({"api_key": "x", "user": "y", "password": "z"}, "but not both"),
        ({"user": "y"}, "set both"),
        ({"tls_ca": "/ca.pem"}, "needs https"),
        ({"index": "Images"}, "pattern"),
    ],
    ids=str,
)
def test_wrong_settings(wrong, message):
    """Each is found before anything is connected; secrets are not repeated."""
    with pytest.raises(ValidationError, match=message) as raised:
        ElasticsearchSettings(**wrong)

    assert "secret" not in str(raised.value)


def test_logins():
    """An API key goes as it is, user and password in base64; neither appears where a node is printed."""
    keyed = configure_node("https://es/path", ElasticsearchSettings(api_key="a2V5\n"))
    named = configure_node("http://es:1", ElasticsearchSettings(user="elastic", password="changeme"))

    assert ("ApiKey a2V5", "Basic ZWxhc3RpYzpjaGFuZ2VtZQ==") == (
        keyed.headers["authorization"],
        named.headers["authorization"],
    )
    assert (("es", 443, "/path"), ("es", 1, "")) == tuple(
        (node.host, node.port, node.path_prefix) for node in (keyed, named)
    )
    assert "a2V5" not in repr(keyed)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, {"type": "security_exception", "reason": "missing authentication"}, ConfigError),
        (403, {"type": "security_exception", "reason": "action [x] is unauthorized"}, ConfigError),
        (403, {"type": "cluster_block_exception", "reason": "index read-only / allow delete"}, ReadOnly),
        (429, {"type": "cluster_block_exception", "reason": "disk usage exceeded flood-stage watermark"}, ReadOnly),
        (429, {"type": "es_rejected_execution_exception", "reason": "queue full"}, Unavailable),
        (503, {"type": "no_shard_available_action_exception", "reason": "none"}, Unavailable),
        (404, {"type": "index_not_found_exception", "reason": "no such index"}, IndexMissing),
        (413, {"type": "too_large", "reason": "content too long"}, TooLarge),
        (400, {"type": "parsing_exception", "reason": "unknown query"}, Refused),
        (
            400,
            {
                "type": "search_phase_execution_exception",
                "reason": "all shards failed",
                "caused_by": {"type": "too_many_clauses", "reason": "maxClauseCount is set to 1024"},
            },
            TooComplex,
        ),
        (400, {"type": "x", "reason": "The nested depth of the query exceeds the maximum nested depth"}, TooComplex),
        (502, "<html>Bad gateway</html>", Unavailable),
        (404, None, Refused),
    ],
)
def test_errors(status, error, kind):
    """Each answer has the error that decides what becomes of the work; the message has the reason."""
    body = error if isinstance(error, str) else {"error": error, "status": status}
    mapped = map_answer(status, body, "POST", "/images/_search")

    assert kind is type(mapped)
    assert mapped.hint
    if isinstance(error, dict) and kind is not IndexMissing:
        assert error["reason"] in mapped.message


def test_roles():
    """Both concern the indexes of the alias alone; a rebuild adds the second alias, setup the template."""
    context = PluginContext(site="home", state_dir="/nowhere")
    indexer = ElasticsearchIndexer(ElasticsearchSettings(index="photos"), context)
    elastic, opensearch = json.loads(indexer.policy()).values()
    more = json.loads(indexer.policy_with(["reindex"]))
    template = json.loads(indexer.policy_with(["setup"]))["PUT /_security/role/imgtag-photos"]

    names = ["photos", "photos-imgtag-*"]
    assert (["monitor"], ["monitor", "manage_index_templates"]) == (elastic["cluster"], template["cluster"])
    assert names == elastic["indices"][0]["names"] == opensearch["index_permissions"][0]["index_patterns"]
    assert [*names, "photos-rebuild"] == more["PUT /_security/role/imgtag-photos"]["indices"][0]["names"]


class _Stranger(BaseHTTPRequestHandler):
    """Answers as a cluster does, and keeps what it was sent."""

    seen: ClassVar[list[str]] = []

    def do_GET(self):
        self.seen.append(self.headers["Authorization"])
        body = {"cluster_uuid": "u", "version": {"number": "9.1.0"}}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/vnd.elasticsearch+json;compatible-with=9")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def test_tls(tmp_path):
    """A certificate from the CA in `tls_ca` is trusted, any other is not, and a file without certificates is named."""
    folder = make_certificate(tmp_path)
    server = HTTPServer(("127.0.0.1", 0), _Stranger)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(folder / "public.crt", folder / "private.key")
    server.socket = trust.wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}"
    with closing(server.socket), ThreadPoolExecutor() as threads:
        threads.submit(server.serve_forever)
        try:
            trusting = Client(ElasticsearchSettings(url=url, tls_ca=folder / "public.crt", api_key="a2V5"))
            answer = trusting.cluster()
            trusting.close()
            stranger = Client(ElasticsearchSettings(url=url))
            with pytest.raises(Unavailable, match="no TLS connection"):
                stranger.cluster()
            stranger.close()
        finally:
            server.shutdown()
    (tmp_path / "empty.pem").touch()

    assert ("Elasticsearch", 9, ["ApiKey a2V5"]) == (answer.name, answer.major, _Stranger.seen)
    with pytest.raises(ConfigError, match=r"empty\.pem"):
        Client(ElasticsearchSettings(url=url, tls_ca=tmp_path / "empty.pem"))


def test_versions_rise():
    """Each is above the last one, and above one that was seen."""
    clock = VersionClock()
    first = clock.next()
    clock.learn(f"version conflict, current version [{first + 10**12}] is higher than the one provided [{first}]")
    clock.learn("something else")

    assert first < first + 10**12 < clock.next() < clock.next()
