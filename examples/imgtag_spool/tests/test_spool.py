"""The source: the suite shipped with imgtag, and what this source promises beyond it."""

import json
from uuid import uuid4

import anyio
import pytest
from imgtag_spool import SPEC

from imgtag.plugin import PluginContext
from imgtag.testing import SourceConformance, SourceUser, discover


class Notifier(SourceUser):
    """The other program: moves one file per notification into the folder."""

    bucket = "photos"

    def __init__(self, folder):
        self.folder = folder

    async def change(self, key):
        self.write({"Records": [self.record("s3:ObjectCreated:Put", key)]})

    async def remove(self, key):
        self.write({"Records": [self.record("s3:ObjectRemoved:Delete", key)]})
        return True

    def record(self, name, key):
        return {
            "eventName": name,
            "s3": {"bucket": {"name": self.bucket}, "object": {"key": key}, "configurationId": "x-global"},
        }

    def write(self, message):
        draft = self.folder / f"{uuid4()}.draft"
        draft.write_text(json.dumps(message))
        draft.rename(draft.with_suffix(".json"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


@pytest.fixture
def user(folder):
    return Notifier(folder)


@pytest.fixture
def connect(folder, tmp_path):
    context = PluginContext(site="home", state_dir=tmp_path / "state")
    return lambda: SPEC.load()(SPEC.settings(folder=folder, every=0.05), context)


class TestConformance(SourceConformance):
    quiet = 0.2
    patience = 60.0

    @pytest.fixture
    def connect(self, connect):
        return connect

    @pytest.fixture
    def user(self, user):
        return user


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_a_file_goes_when_all_its_objects_are_done(connect, folder, user):
    """Not before: a sidecar that is killed in between finds it again."""
    user.write({"Records": [user.record("s3:ObjectCreated:Put", key) for key in ("a.jpg", "b.jpg")]})
    async with connect() as source:
        deliveries = source.deliveries()
        await (await anext(deliveries)).ack()
        assert 1 == len(list(folder.iterdir()))
        await (await anext(deliveries)).ack()
        assert [] == list(folder.iterdir())
        await deliveries.aclose()


@pytest.mark.anyio
async def test_what_cannot_be_read_is_a_dead_letter(connect, folder, user):
    """With its text; the files after it are read."""
    (folder / "0.json").write_text("no JSON")
    await user.change("a.jpg")
    async with connect() as source:
        deliveries = source.deliveries()
        with anyio.fail_after(30):
            await anext(deliveries)
        (letter,) = [letter async for letter in source.dead.list()]
        await deliveries.aclose()

    assert (None, b"no JSON") == (letter.ref, letter.payload)
    assert not (folder / "0.json").exists()


def test_imgtag_finds_the_plugin():
    """Its entry point registers it."""
    assert "spool" in discover().usable("source")
