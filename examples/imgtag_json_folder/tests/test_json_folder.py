"""The indexer: the suite shipped with imgtag, and what this indexer promises beyond it."""

import shutil

import pytest
from imgtag_json_folder import SPEC

from imgtag.errors import PluginError, Unavailable
from imgtag.plugin import PluginContext, SearchRequest, Upsert
from imgtag.testing import IndexerConformance, discover, document, parse


@pytest.fixture
def context(tmp_path):
    return PluginContext(site="home", state_dir=tmp_path / "state")


@pytest.fixture
def folder(context):
    return context.state_dir / "json-folder"


@pytest.fixture
def connect(context):
    return lambda **settings: SPEC.load()(SPEC.settings(**settings), context)


class TestConformance(IndexerConformance):
    @pytest.fixture
    def connect(self, connect):
        return connect

    @pytest.fixture
    def delete_index(self, folder):
        return lambda: shutil.rmtree(folder)


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_where_no_folder_can_be(connect, tmp_path):
    """The error names the path, and the sidecar tries again."""
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=r"file/index: Not a directory"):
        await connect(folder=tmp_path / "file" / "index").__aenter__()


@pytest.mark.anyio
async def test_a_damaged_file(connect, folder):
    """No further try helps, so the error says what to do."""
    async with connect() as indexer:
        (outcome,) = await indexer.apply([Upsert(document("fox.jpg", {"fox": 0.9}))])
        (folder / f"{outcome.id}.json").write_text("{")
        with pytest.raises(PluginError, match="damaged") as caught:
            await indexer.search(SearchRequest(query=parse("fox")))

    assert "move" in caught.value.hint


def test_imgtag_finds_the_plugin():
    """Its entry point registers it."""
    assert "json-folder" in discover().usable("indexer")
