"""Where the time goes: a profile of the event loop, and the stages of each image."""

from __future__ import annotations

import pstats

import pytest

from acceptance_support import wait_until

pytestmark = pytest.mark.timeout(300)


def test_profile_of_the_event_loop_is_written_when_the_sidecar_stops(site, photographs):
    """SIGTERM ends it in order, and the functions that worked on a picture are in the file."""
    file = site.base / "run.prof"
    site.start(options=["--profile", str(file)])
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    wait_until(lambda: site.found("cat"))
    assert 0 == site.stop()

    called = {name for _, _, name in pstats.Stats(str(file)).stats}
    assert {"build_document", "_classify", "inspect"} <= called
    assert 0o600 == file.stat().st_mode & 0o777


def test_profile_that_cannot_be_written_is_refused_at_the_start(site):
    """Not after hours of work; the message names the file."""
    file = site.base / "missing" / "run.prof"

    assert f"imgtag: --profile {file}: No such file or directory" in site.fails("run", "--profile", str(file), code=78)


def test_every_stage_of_a_picture_is_measured(site, photographs):
    """From the look at the object to the index, with the wait for a worker."""
    site.start()
    (site.root / "cat.jpg").write_bytes(photographs["cat"])

    def counts() -> dict[str, float]:
        stages = ("inspect", "fetch", "classify", "wait", "decode", "infer", "annotate", "index")
        return {stage: site.metric(f'imgtag_stage_seconds_count{{stage="{stage}"}}') for stage in stages}

    wait_until(lambda: all(counts().values()), describe=lambda: str(counts()))
    assert {1.0} == set(counts().values())
