"""The suites see what is broken: run on implementations with one fault each, they fail by the property's name."""

import subprocess
import sys
from collections import defaultdict
from xml.etree import ElementTree as ET

import pytest

from conformance.broken import classifiers, indexers, remotes, services, sources, stores

pytestmark = pytest.mark.timeout(600)  # hundreds of tests run in one process of their own

KINDS = (services, stores, sources, classifiers, remotes, indexers)
BROKEN = [
    pytest.param(kind, name, id=f"{kind.__name__.rpartition('.')[2]}-{name.removeprefix('Test')}")
    for kind in KINDS
    for name in vars(kind)
    if name.startswith("Test") and name != "TestSound"
]


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """(module, class) -> the tests that failed, of those that must; of a sound class all that must elsewhere."""
    report = tmp_path_factory.mktemp("report") / "report.xml"
    plain = ["-p", "no:cacheprovider", "-q", "--no-header", "--tb=no", "-rN", f"--junitxml={report}"]
    tests = [test for kind in KINDS for test in _tests(kind)]
    run = subprocess.run([sys.executable, "-m", "pytest", *plain, *tests], capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    return _failures(report)


@pytest.mark.parametrize(("kind", "name"), BROKEN)
def test_suite_names_the_fault(failed, kind, name):
    """Each test that stands for the broken property fails."""
    assert failed[kind.__name__, name] == set(getattr(kind, name).shows)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__.rpartition(".")[2])
def test_sound_passes(failed, kind):
    """The same tests pass where nothing is broken."""
    assert failed[kind.__name__, "TestSound"] == set()


def _tests(kind):
    broken = {
        name: (*each.shows, *getattr(each, "passes", ()))
        for name, each in vars(kind).items()
        if name.startswith("Test")
    }
    broken["TestSound"] = {test for shows in broken.values() for test in shows}
    return [f"{kind.__file__}::{name}::{test}" for name, shows in broken.items() for test in sorted(shows)]


def _failures(report):
    failures = defaultdict(set)
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None:
            module, _, name = case.get("classname").rpartition(".")
            failures[module.removeprefix("tests."), name].add(case.get("name").partition("[")[0])
    return failures
