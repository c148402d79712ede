"""docs/reference/stores.md says what the servers do."""

import json
import runpy
from pathlib import Path

import pytest

from servers.nats import NatsServer
from servers.stores import SCRIPT, STORES, Minio, Versitygw, is_installed, version_of
from stores.matrix import SUBJECT, measure

ROOT = Path(__file__).parents[2]
MEASURED = json.loads((ROOT / "scripts" / "stores.json").read_text())
RACES = "`If-Match` on PutObject"


def test_page_is_made_from_the_measurements():
    """And from nothing else: `python scripts/measure_stores.py --page`."""
    render = runpy.run_path(str(ROOT / "scripts" / "measure_stores.py"))["render"]

    assert (ROOT / "docs" / "reference" / "stores.md").read_text() == render(MEASURED)


@pytest.mark.parametrize("kind", [Minio, Versitygw], ids=lambda kind: kind.name)
def test_versions_are_those_that_are_built(kind):
    """A new version is measured again."""
    assert MEASURED[kind.name]["version"] == version_of(kind)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", [kind for kind in STORES if is_installed(kind)], ids=lambda kind: kind.name)
def test_measurements_hold(tmp_path, kind):
    """Measured again each cell is the same, but for the number of races that a server loses."""
    path = SCRIPT["find"]("nats-server")
    if path is None:
        pytest.skip("nats-server is not installed: python scripts/servers.py install nats-server")
    with (
        NatsServer(path, tmp_path / "nats") as nats,
        kind.notifying(SCRIPT["find"](kind.name), tmp_path / "server", nats, SUBJECT) as server,
    ):
        cells = measure(server, tmp_path, nats)

    expected = MEASURED[kind.name]["cells"]
    assert cells[RACES].partition(":")[0] == expected[RACES].partition(":")[0]
    assert cells | {RACES: ""} == expected | {RACES: ""}
