"""`imgtag audit` as it is typed: what lost, doubled and late events leave behind is found and mended."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from acceptance.conftest import IMGTAG, Site
from acceptance_support import wait_until

pytestmark = pytest.mark.timeout(180)


def audit(site: Site, *options: str, code: int) -> tuple[list[tuple[str, str, str]], dict]:
    """The findings as (kind, key, reason), and the last line."""
    *findings, last = map(json.loads, site.ask("audit", "--json", *options, code=code).splitlines())
    assert last.pop("done")
    parts = ("current", "stale", "unlabelled", "refused", "failed", "missing")
    assert last["objects"] == sum(last[name] for name in parts)
    return [(finding["finding"], finding["key"], finding["reason"]) for finding in findings], last


def test_a_folder_is_audited_and_mended(site, photographs):
    """Files that came, changed, went and lost their labels while nothing ran; a truncated JPEG is no finding."""
    for number in range(30):
        (site.root / f"{number:02}.jpg").write_bytes(photographs["cat"] + bytes([number]))
    for name in ("changed", "gone", "stripped"):
        (site.root / f"{name}.jpg").write_bytes(photographs["cat"] + name.encode())
    (site.root / "truncated.jpg").write_bytes(photographs["cat"][:2_000])
    with site.running():
        wait_until(lambda: len(site.found("status:labelled")) == 33 and site.found("status:failed"), 60)
    findings, last = audit(site, code=0)
    assert ([], 33, 1) == (findings, last["current"], last["failed"])

    (site.root / "changed.jpg").write_bytes(photographs["daisy"])
    (site.root / "gone.jpg").unlink()
    os.removexattr(site.root / "stripped.jpg", "user.imgtag-mark")
    (site.root / "new.jpg").write_bytes(photographs["espresso"])
    (site.root / "notes.txt").write_text("no image")

    findings, last = audit(site, code=1)
    assert [
        ("differing", "changed.jpg", "etag"),
        ("orphaned", "gone.jpg", "object_gone"),
        ("missing", "new.jpg", "no_document"),
        ("differing", "stripped.jpg", "mark"),
    ] == findings
    assert {"missing": 1, "orphaned": 1, "differing": 2, "failed": 1, "objects": 34}.items() <= last.items()
    assert "user.imgtag-mark" not in os.listxattr(site.root / "new.jpg")

    findings, last = audit(site, "--repair", code=0)
    assert (4, 4, 33, 1) == (len(findings), last["repaired"], last["current"], last["failed"])
    assert [] == audit(site, code=0)[0]
    assert "user.imgtag-mark" in os.listxattr(site.root / "new.jpg")


def test_many_deletions_need_a_yes(site, photographs):
    """Without a terminal and without --yes nothing at all is mended, and it says so."""
    for name in ("a", "b"):
        (site.root / f"{name}.jpg").write_bytes(photographs["cat"])
    with site.running():
        wait_until(lambda: len(site.found()) == 2, 60)
    (site.root / "a.jpg").unlink()

    command = [*IMGTAG, "--config", str(site.file), "audit", "--repair"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert 2 == done.returncode
    assert "1 of 2 documents have no object that a rule admits" in done.stderr
    assert 2 == len(site.found())

    assert "1 keys were worked off" in site.ask("audit", "--repair", "--yes")
    assert ["b.jpg"] == [document["key"] for document in site.found()]
