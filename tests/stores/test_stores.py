"""The store suite on every S3 server that can be had, with what each of them does not do."""

from collections.abc import Mapping
from types import MappingProxyType

import pytest

from conformance.s3_user import S3User
from imgtag.plugin.spec import PluginContext
from imgtag.testing.conformance import StoreConformance
from imgtag_s3 import SPEC
from servers.s3_client import S3Client
from servers.stores import STORES, Garage, Minio, Seaweedfs, Versitygw, is_installed


class OnServer(StoreConformance):
    server = None
    fails: Mapping[str, str] = MappingProxyType({})

    @pytest.fixture(autouse=True)
    def known(self, request):
        """What this server is known not to do; were it to do it one day, the test would say so."""
        reason = self.fails.get(request.function.__name__)
        if reason:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture
    def running(self, start):
        return start(self.server)

    @pytest.fixture
    async def user(self, running):
        client = S3Client(SPEC.settings(**running.settings))
        user = S3User(client, running.data, versions=False)
        await user.make()
        yield user
        client.close()

    @pytest.fixture
    def connect(self, running, tmp_path):
        context = PluginContext(site="home", state_dir=tmp_path)
        return lambda: SPEC.load()(SPEC.settings(**running.settings, if_match=True), context)


class TestMinio(OnServer):
    server = Minio
    __test__ = is_installed(Minio)


class TestVersitygw(OnServer):
    server = Versitygw
    __test__ = is_installed(Versitygw)


class TestGarage(OnServer):
    server = Garage
    fails = MappingProxyType({
        **dict.fromkeys(
            (
                "test_odd_keys", "test_list_shows_what_stat_shows", "test_rewrite_writes_metadata",
                "test_rewrite_outlives_the_store", "test_rewrite_removes_what_is_not_named",
                "test_rewrite_changes_nothing_else", "test_rewrite_leaves_other_objects_alone", "test_rewrite_again",
                "test_rewrite_never_loses_an_upload", "test_rewrite_accepts_the_metadata_that_fit",
                "test_forecast_changes_nothing_and_comes_true",
            ),
            "it has no PutObject with If-Match",
        ),
        **dict.fromkeys(
            (
                "test_create_makes_an_object", "test_create_replaces_nothing", "test_erase_leaves_nothing",
                "test_erase_leaves_others_alone", "test_erase_of_nothing",
            ),
            "it lists no versions, which a sample needs",
        ),
    })  # fmt: skip
    __test__ = is_installed(Garage)


class TestSeaweedfs(OnServer):
    server = Seaweedfs
    __test__ = is_installed(Seaweedfs)


@pytest.mark.parametrize("server", [kind for kind in STORES if not is_installed(kind)], ids=lambda kind: kind.name)
def test_server_is_installed(start, server):
    """One line for each server that is missing."""
    start(server)
