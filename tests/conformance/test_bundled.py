"""The bundled plugins pass the suites; they are loaded as strangers' plugins are."""

import os

import pytest

from conformance.users import FolderUser, PushingUser, SilentUser
from imgtag.plugin.spec import PluginContext
from imgtag.testing.conformance import (
    ClassifierConformance,
    IndexerConformance,
    SourceConformance,
    StoreConformance,
)
from imgtag_directory import SOURCE, STORE
from imgtag_poll import SPEC as POLL
from imgtag_sqlite import SPEC as SQLITE
from imgtag_tflite import SPEC as TFLITE
from imgtag_webhook import SPEC as WEBHOOK
from servers.process import free_port


@pytest.fixture
def context(tmp_path):
    return PluginContext(site="home", state_dir=tmp_path / "state")


@pytest.fixture
def root(tmp_path):
    """The folder that is the bucket."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def bundled_model():
    return TFLITE.load()(TFLITE.settings())


class TestDirectoryStore(StoreConformance):
    @pytest.fixture(autouse=True)
    def has_attributes(self, tmp_path):
        """Its user writes extended attributes; where there are none the store cannot be tested so."""
        try:
            os.setxattr(tmp_path, "user.imgtag-test", b"1")
        except OSError:
            pytest.skip("no extended attributes here")

    @pytest.fixture
    def user(self, root):
        return FolderUser(root)

    @pytest.fixture
    def connect(self, root, context):
        return lambda: STORE.load()(STORE.settings(root=root), context)


@pytest.mark.parametrize("watch", ["inotify", "poll"])
class TestDirectorySource(SourceConformance):
    resync_first = True
    quiet = 0.5

    @pytest.fixture
    def user(self, root):
        return FolderUser(root)

    @pytest.fixture
    def connect(self, root, context, watch, monkeypatch):
        monkeypatch.setattr("imgtag.flow.inbox.INTERVAL", 0.1)
        settings = SOURCE.settings(root=root, settle=0.1, poll=0.2, recheck=0.2, watch=watch)
        return lambda: SOURCE.load()(settings, context)


class TestWebhookSource(SourceConformance):
    patience = 20.0

    @pytest.fixture
    def port(self):
        return free_port()

    @pytest.fixture
    def user(self, port):
        return PushingUser(f"http://127.0.0.1:{port}/")

    @pytest.fixture
    def connect(self, port, context, monkeypatch):
        monkeypatch.setattr("imgtag.flow.inbox.INTERVAL", 0.1)
        monkeypatch.setattr("imgtag_webhook.source.LISTEN_PAUSE", 0.05)
        settings = WEBHOOK.settings(listen=f"127.0.0.1:{port}")
        return lambda: WEBHOOK.load()(settings, context)


class TestPollSource(SourceConformance):
    resync_first = only_resyncs = True

    @pytest.fixture
    def user(self):
        """Changes nothing: this source would not notice it."""
        return SilentUser()

    @pytest.fixture
    def connect(self, context, monkeypatch):
        monkeypatch.setattr("imgtag.flow.inbox.INTERVAL", 0.1)
        settings = POLL.settings(every=600, parts=("photos",))
        return lambda: POLL.load()(settings, context)


class TestSqliteIndexer(IndexerConformance):
    @pytest.fixture
    def connect(self, context):
        return lambda: SQLITE.load()(SQLITE.settings(), context)

    @pytest.fixture
    def delete_index(self, context):
        def delete():
            for path in context.state_dir.glob("index.sqlite3*"):
                path.unlink()

        return delete


class TestTFLiteClassifier(ClassifierConformance):
    @pytest.fixture
    def classifier(self, bundled_model):
        return bundled_model
