"""How far a job has come: in order, whatever ends first, and only for the job that saved it."""

import anyio
import pytest

from imgtag.jobs.checkpoint import CheckpointFile, Watermark

pytestmark = pytest.mark.anyio


async def test_the_watermark_passes_what_is_done_without_a_gap():
    """A result counts when all before it are done too."""
    settled: list[str] = []
    watermark = Watermark(room=10, settle=settled.append)
    first, second, third = [await watermark.begin(position) for position in "abc"]
    watermark.end(second, "2")
    assert ("", []) == (watermark.position, settled)
    watermark.end(first, "1")
    assert ("b", ["1", "2"]) == (watermark.position, settled)
    watermark.end(third, "3")
    assert ("c", ["1", "2", "3"]) == (watermark.position, settled)


async def test_no_more_than_its_room_is_beyond_the_watermark():
    """However much is done beyond it, a slow object holds back what comes later."""
    watermark = Watermark(room=2, settle=lambda _: None)
    slow, quick = await watermark.begin("a"), await watermark.begin("b")
    watermark.end(quick, "done")
    with anyio.move_on_after(0.05) as waiting:
        await watermark.begin("c")
    assert waiting.cancelled_caught
    watermark.end(slow, "done")
    with anyio.fail_after(5):
        await watermark.begin("c")


def test_a_checkpoint_holds_for_its_job_alone(tmp_path):
    """Another scope finds none; what was done is gone."""
    file = CheckpointFile(tmp_path, {"lists": ["photos/"]})
    file.save({"position": "0:a.jpg"})
    assert "0:a.jpg" == CheckpointFile(tmp_path, {"lists": ["photos/"]}).load()["position"]
    assert CheckpointFile(tmp_path, {"lists": ["photos/2026/"]}).load() is None
    file.remove()
    assert file.load() is None


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"identity": {}}', b"\xff"])
def test_a_damaged_checkpoint_is_none(tmp_path, content):
    """The job then begins at the beginning, which costs a listing."""
    file = CheckpointFile(tmp_path, {"lists": ["photos/"]})
    file.save({"position": "0:a.jpg"})
    file.path.write_bytes(content)
    assert file.load() is None
