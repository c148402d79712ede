"""If-Match is believed only where it loses no race, and the answer is kept."""

import json
from contextlib import ExitStack, closing

import pytest

from imgtag.errors import ImgtagError, WriteRefused
from imgtag.plugin.store import Rewrite
from imgtag.types.ref import ObjectRef
from imgtag_s3 import SPEC
from imgtag_s3.probe import Probe
from servers.s3_client import S3Client
from servers.tiny_s3 import TinyS3


@pytest.fixture
def probe(tmp_path):
    """Makes probes of a server, each as after a restart."""

    with ExitStack() as stack:

        def make(server):
            settings = SPEC.settings(**server.settings)
            client = stack.enter_context(closing(S3Client(settings)))
            return client.blocking(Probe, settings, tmp_path)

        yield make


def test_if_match_that_is_atomic(tiny, probe):
    """Hundreds of races of each kind are run and none is lost; nothing is left of them."""
    with tiny:
        if_match = probe(tiny).if_match()

    assert if_match.atomic
    assert if_match.races.run == {"deletions": 180, "overwrites": 60, "conditional writes": 60}
    assert sum(if_match.races.lost.values()) == 0
    assert tiny.buckets == {}


def test_if_match_that_is_checked_before_the_lock(probe):
    """A server that lets a write through beside a deletion or an upload is found out."""
    with TinyS3(gap=0.002) as server:
        if_match = probe(server).if_match()

    assert if_match.honoured
    assert not if_match.atomic
    assert "honoured but not atomic" in if_match.describe()
    assert all(if_match.races.lost[kind] for kind in ("deletions", "overwrites", "conditional writes"))


def test_if_match_that_is_ignored(probe):
    """Then no races are needed."""
    with TinyS3(if_match=False) as server:
        if_match = probe(server).if_match()

    assert (if_match.atomic, if_match.races.run) == (False, {})


def test_result_is_kept(probe, tmp_path):
    """Another process does not test again, until the server has another version, or the result is a month old."""
    with TinyS3(if_match=False) as tiny:
        first = probe(tiny).if_match()
        tiny.sent.clear()
        assert probe(tiny).if_match() == first
        assert tiny.sent == [("GET", "/")]

        tiny.server = "TinyS3/2"
        second = probe(tiny).if_match()
        assert second.at > first.at

        file = tmp_path / "s3-probe.json"
        records = json.loads(file.read_text())
        records[tiny.settings["endpoint"]]["if_match"]["at"] -= 31 * 86_400
        file.write_text(json.dumps(records))
        assert probe(tiny).if_match().at > second.at


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"x": 1}'])
def test_file_that_is_not_a_result(probe, tmp_path, text):
    """It is tested again, and the file is replaced."""
    with TinyS3(if_match=False) as tiny:
        (tmp_path / "s3-probe.json").write_text(text.replace("x", tiny.settings["endpoint"]))
        assert not probe(tiny).if_match().atomic
        assert tiny.settings["endpoint"] in json.loads((tmp_path / "s3-probe.json").read_text())


def test_a_store_that_loses_races_is_not_written(open_store):
    """Its objects are refused with a code and the figures, unless the settings say that it is safe."""
    server = TinyS3(gap=0.002)
    server.put("photos", "a.jpg", b"bytes")
    ref = ObjectRef("photos", "a.jpg")
    call = open_store(server, buckets=("photos",), strategies=frozenset({"auto"}))
    change = Rewrite(state=call("stat", ref), metadata={"imgtag_red+fox": "0.59"}, body=b"bytes")
    with pytest.raises(WriteRefused) as refused:
        call("rewrite", change)
    check = {check.check: check for check in call("checks")}["writeback"]

    assert refused.value.code == "if_match"
    assert "deletions" in refused.value.message
    assert not check.ok
    assert "deletions" in check.message
    assert "if_match = true" in check.hint
    assert server.buckets["photos"]["a.jpg"].headers == {"content-type": "image/jpeg"}


def test_the_settings_override_the_test(open_store):
    """An administrator who knows better is believed, and nothing is tested."""
    server = TinyS3(gap=0.002)
    server.put("photos", "a.jpg", b"bytes")
    call = open_store(server, if_match=True)
    change = Rewrite(state=call("stat", ObjectRef("photos", "a.jpg")), metadata={"imgtag_a": "0.5"}, body=b"bytes")

    assert dict(call("rewrite", change).metadata) == {"imgtag_a": "0.5"}
    assert list(server.buckets) == ["photos"]


def test_copy_that_makes_no_version(tiny, probe):
    """A server that accepts versioning and lists no second version is found out, once; nothing is left."""
    with tiny:
        assert not probe(tiny).copy_makes_version()
        tiny.sent.clear()
        assert not probe(tiny).copy_makes_version()

    assert tiny.sent == [("GET", "/")]
    assert tiny.buckets == {}


def test_copy_that_may_not_be_tested(tiny, probe):
    """The least permissions do not include versioning of buckets: then the server is taken to do as S3 does."""
    tiny.denied = {("PUT", "versioning")}
    with tiny:
        assert probe(tiny).copy_makes_version()

    assert tiny.buckets == {}


@pytest.mark.parametrize("verifies", [True, False])
def test_whether_digests_are_verified(tiny, probe, verifies):
    """A server that takes bytes with another SHA-256 than the signed one is found out, once; nothing is left."""
    tiny.verifies_digest = verifies
    with tiny:
        assert probe(tiny).verifies_digest() == verifies
        tiny.sent.clear()
        assert probe(tiny).verifies_digest() == verifies

    assert tiny.sent == [("GET", "/")]
    assert tiny.buckets == {}


@pytest.mark.parametrize("status", [(403, "AccessDenied"), (400, "InvalidRequest")])
def test_a_server_that_refuses_every_write_proves_nothing(tiny, probe, status):
    """Only one that accepts the right digest has refused the wrong one for what it is."""
    tiny.refusals = {("PUT", ""): status}
    with tiny, ExitStack() as expecting:
        if status[0] != 403:
            expecting.enter_context(pytest.raises(ImgtagError))
        assert probe(tiny).verifies_digest() is False


def test_both_results_are_kept(tiny, probe):
    """Each has its place in the file."""
    tiny.if_match = False
    with tiny:
        for _ in range(2):
            tiny.sent.clear()
            assert not probe(tiny).if_match().atomic
            assert not probe(tiny).copy_makes_version()

    assert {method for method, _ in tiny.sent} == {"GET"}
