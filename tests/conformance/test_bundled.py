"""The bundled plugins pass the suites, loaded by the road that strangers' plugins take."""

import os
import shutil

import pytest
from anyio import to_thread

from imgtag.plugin.spec import PluginContext
from imgtag.testing.conformance import (
    ClassifierConformance,
    IndexerConformance,
    SourceConformance,
    SourceUser,
    StoreConformance,
    StoreUser,
)
from imgtag_directory import SOURCE, STORE
from imgtag_sqlite import SPEC as SQLITE
from imgtag_tflite import SPEC as TFLITE


@pytest.fixture
def context(tmp_path):
    return PluginContext(site="home", state_dir=tmp_path / "state")


@pytest.fixture
def root(tmp_path):
    """The folder that is the bucket."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


class FolderUser(StoreUser, SourceUser):
    """Works in the folder as a camera or a person does: new files come under their name when they are whole."""

    def __init__(self, root):
        self.bucket = root.name
        self._root = root
        self._aside = root.parent / "aside"

    async def put(self, key, data, metadata=None):
        await to_thread.run_sync(self._put, key, data, metadata or {})

    async def delete(self, key):
        await to_thread.run_sync((self._root / key).unlink)

    async def change(self, key):
        await self.put(key, os.urandom(16))

    async def remove(self, key):
        await self.delete(key)
        return True

    async def take_away(self):
        await to_thread.run_sync(self._root.rename, self._aside)

    async def bring_back(self):
        await to_thread.run_sync(self._aside.rename, self._root)

    def _put(self, key, data, metadata):
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}")
        unfinished.write_bytes(data)
        for name, value in metadata.items():
            os.setxattr(unfinished, f"user.{name}", value.encode())
        unfinished.replace(path)


@pytest.fixture
def user(root):
    return FolderUser(root)


class TestDirectoryStore(StoreConformance):
    @pytest.fixture
    def user(self, user):
        return user

    @pytest.fixture
    def connect(self, root, context):
        settings = STORE.settings(root=root)
        return lambda: STORE.load()(settings, context)


@pytest.mark.parametrize("watch", ["inotify", "poll"])
class TestDirectorySource(SourceConformance):
    settle = 0.4
    quiet = 1.2

    @pytest.fixture
    def user(self, user):
        return user

    @pytest.fixture
    def connect(self, root, context, watch):
        settings = SOURCE.settings(root=root, settle=0.1, poll=0.2, recheck=0.2, watch=watch)
        return lambda: SOURCE.load()(settings, context)


class TestSqliteIndexer(IndexerConformance):
    @pytest.fixture
    def connect(self, context):
        return lambda: SQLITE.load()(SQLITE.settings(), context)


@pytest.fixture(scope="module")
def bundled_model():
    return TFLITE.load()(TFLITE.settings())


class TestTFLiteClassifier(ClassifierConformance):
    @pytest.fixture
    def classifier(self, bundled_model):
        return bundled_model


@pytest.fixture(autouse=True)
def no_attributes_no_store(request, tmp_path):
    """The user of a folder writes extended attributes; where there are none the store cannot be tested so."""
    if request.cls is TestDirectoryStore:
        try:
            os.setxattr(tmp_path, "user.imgtag-test", b"1")
        except OSError:
            pytest.skip("no extended attributes here")
    yield
    shutil.rmtree(tmp_path / "aside", ignore_errors=True)
