"""Discovery of plugins, with real modules and a real distribution on the path."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imgtag.errors import PluginError
from imgtag.plugin_loader import import_entry
from imgtag.registry import PluginRecord, discover

GOOD = """
from imgtag.plugin.spec import PluginSpec

SPEC = PluginSpec(name="{name}", kind="{kind}", summary="For tests.", factory="{module}:make")

def make(settings):
    return settings
"""

Install = Callable[..., None]
Drop = Callable[..., Path]


@pytest.fixture(autouse=True)
def forgotten_modules() -> Iterator[None]:
    """A plugin that one test imported is unknown to the next."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("acme"):
            del sys.modules[name]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution with one module and its entry point on the path."""

    def put(source: str, *, name: str = "acme", group: str = "imgtag.stores", module: str = "acme_plugin") -> None:
        site = tmp_path / f"site-{module}"
        info = site / f"{module}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:SPEC\n")
        (site / f"{module}.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(site)

    return put


@pytest.fixture
def drop(tmp_path: Path) -> Drop:
    """Put a file into a drop-in folder; returns the folder."""
    folder = tmp_path / "drop-ins"
    folder.mkdir(mode=0o755)

    def put(name: str, source: str, mode: int = 0o644) -> Path:
        path = folder / name
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.write_text(source)
        path.chmod(mode)
        return folder

    return put


def test_a_drop_in_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Where a plugin is missed, with the whole path: a relative one follows the working directory."""
    with pytest.raises(
        PluginError, match=f"there is no store plugin 'acme'; {tmp_path}/none is refused: .*No such file"
    ):
        discover(tmp_path / "none").find("store", "acme")


def good(name: str = "acme", kind: str = "store", module: str = "acme_plugin") -> str:
    return GOOD.format(name=name, kind=kind, module=module)


def found(name: str, folder: Path | None = None) -> list[PluginRecord]:
    return [record for record in discover(folder).records if record.name == name]


def test_installed_plugin_is_found(install: Install) -> None:
    """A distribution that announces a plugin is enough; the record says which one it was."""
    install(good())

    (record,) = found("acme")

    assert ("store", "ok", "acme_plugin 1.2", "acme_plugin:SPEC") == (
        record.kind,
        record.status,
        record.origin,
        record.entry,
    )
    assert "For tests." == record.summary
    assert discover().find("store", "acme") is import_entry(record.entry)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import acme_is_not_there", "ModuleNotFoundError: No module named 'acme_is_not_there'"),
        ("import sys; sys.exit(3)", "it exits when it is imported"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("SPEC = 3", "acme_plugin:SPEC is not a PluginSpec, its type is int"),
        ("OTHER = 3", "AttributeError: module 'acme_plugin' has no attribute 'SPEC'"),
        (good(name="other"), "announced as store 'acme', but its spec says store 'other'"),
        (good(kind="source"), "announced as store 'acme', but its spec says source 'acme'"),
        (good().replace("summary=", "api=2, summary="), "made for plugin API 2, this sidecar has 1"),
        (good(kind="widget"), "its kind is 'widget'; the kinds are source, store, classifier, indexer"),
        (
            good(name="Bad Name"),
            "its name is 'Bad Name'; use letters, digits, `-` and `_`, as in the name of a table",
        ),
        (
            good().replace("summary=", "settings=dict, summary="),
            "its settings class dict does not derive from imgtag.plugin.Settings, so typing errors would pass",
        ),
        (good(module="acme").replace(":make", ""), """its factory is 'acme'; write "module:attribute\""""),
    ],
)
def test_broken_plugin_is_a_record(install: Install, source: str, reason: str) -> None:
    """Whatever a plugin does when it is imported, discovery goes on and says what it was."""
    install(source)

    (record,) = found("acme")

    assert ("broken", reason, None) == (record.status, record.reason, record.spec)


def test_an_unknown_kind_of_a_drop_in_is_a_record(drop: Drop) -> None:
    """By the name of its file, after all others."""
    folder = drop("acme_odd.py", good(kind="widget", module="acme_odd"))

    (record,) = found("acme_odd", folder)

    assert (None, "broken") == (record.kind, record.status)
    assert "its kind is 'widget'" in record.reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (good(module="acme_none"), "cannot import the factory acme_none:make of the store plugin 'acme'"),
        (good().replace(":make", ":nothing"), "has no attribute 'nothing'"),
        (good() + "make = 3\n", "the factory acme_plugin:make of the store plugin 'acme' cannot be called"),
    ],
)
def test_a_factory_that_cannot_be_used_is_found_when_asked_for(install: Install, source: str, reason: str) -> None:
    """Imported only then, for it takes time."""
    install(source)

    assert "ok" == found("acme")[0].status
    (record,) = [record for record in discover(verify=True).records if record.name == "acme"]
    assert "broken" == record.status
    assert reason in record.reason


@pytest.mark.parametrize(
    ("runs", "classify", "reason"),
    [
        ("main", "def classify(self, image): ...", "would block the sidecar"),
        ("worker", "async def classify(self, images): ...", "is a coroutine, but workers call plain functions"),
    ],
)
def test_a_classifier_that_runs_in_the_wrong_process(install: Install, runs: str, classify: str, reason: str) -> None:
    """Which is told before a picture fails over it."""
    source = good(kind="classifier").replace("summary=", f'runs="{runs}", summary=').partition("def make")[0]
    install(f"{source}class make:\n    {classify}\n", group="imgtag.classifiers")

    (record,) = [record for record in discover(verify=True).records if record.name == "acme"]

    assert reason in record.reason


def test_what_a_plugin_prints_is_no_result(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    """Results go to stdout, so what a plugin prints while it is imported goes elsewhere."""
    install("print('hello')\n" + good())

    discover()

    assert ("", "hello\n") == capsys.readouterr()


def test_one_name_twice_is_a_conflict(install: Install, drop: Drop) -> None:
    """Of two plugins with one name none is taken, and both are named."""
    install(good())
    folder = drop("acme_drop.py", good(module="acme_drop"))

    records = found("acme", folder)

    assert ["conflict", "conflict"] == [record.status for record in records]
    for record in records:
        assert "acme_plugin 1.2" in record.reason
        assert str(folder / "acme_drop.py") in record.reason
    with pytest.raises(PluginError, match=r"is conflict: .* have the same name"):
        discover(folder).find("store", "acme")


def test_drop_in_file_and_package_are_found(drop: Drop) -> None:
    """A file and a package work alike, their factories by their own names, here and in another process."""
    drop("acme_file.py", good(name="acme1", module="acme_file"))
    drop("acme_package/__init__.py", good(name="acme2", module="acme_package.parts"))
    drop("acme_package/parts.py", "def make(settings): return settings")
    folder = drop("_acme_hidden.py", "raise RuntimeError")

    records = [record for record in discover(folder).records if record.origin.startswith(str(folder))]

    assert [("acme1", "ok"), ("acme2", "ok")] == [(record.name, record.status) for record in records]
    for record in records:
        assert record.spec is not None
        assert 7 == record.spec.load()(7)
        script = f"from imgtag.plugin_loader import import_entry; print(import_entry({record.entry!r}).load()(7))"
        assert "7\n" == run_python(script)


def run_python(script: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment
    ).stdout


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("acme_bad.py", "syntax error", "SyntaxError"),
        ("acme_bad.py", "x = 1", "the module has no PluginSpec among its attributes"),
        ("json.py", good(), "there is already a module 'json': rename the file"),
    ],
)
def test_broken_drop_in_is_a_record(drop: Drop, name: str, source: str, reason: str) -> None:
    """A drop-in that cannot be used is listed by the name of its file."""
    folder = drop(name, source)

    (record,) = found(Path(name).stem, folder)

    assert ("broken", None) == (record.status, record.kind)
    assert reason in record.reason


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_drop_in_that_others_can_write_is_refused(drop: Drop, mode: int) -> None:
    """What others can write is not imported; the reason says how to mend it."""
    folder = drop("acme_open.py", "raise SystemExit('imported')", mode)

    (record,) = found("acme_open", folder)

    assert "refused" == record.status
    assert f"chmod go-w {folder / 'acme_open.py'}" in record.reason


def test_package_with_a_file_that_others_can_write_is_refused(drop: Drop) -> None:
    """Every file of a package counts."""
    drop("acme_package/__init__.py", good())
    folder = drop("acme_package/parts.py", "", 0o666)

    (record,) = found("acme_package", folder)

    assert "refused" == record.status


def test_folder_that_others_can_write_is_refused(drop: Drop) -> None:
    """Nothing of it is imported; the one record names the folder."""
    folder = drop("acme_file.py", good())
    folder.chmod(0o777)

    (record,) = [record for record in discover(folder).records if record.origin.startswith(str(folder))]

    assert ("refused", "drop-ins") == (record.status, record.name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_drop_in_of_somebody_else_is_refused(drop: Drop) -> None:
    """Files belong to root or to whoever runs the sidecar."""
    folder = drop("acme_file.py", good())
    os.chown(folder / "acme_file.py", 1234, -1)

    (record,) = found("acme_file", folder)

    assert "refused" == record.status
    assert "belongs to user 1234" in record.reason


def test_folder_that_is_not_there_is_a_record(tmp_path: Path) -> None:
    """A wrong path is seen, and harms nothing."""
    (record,) = found("nowhere", tmp_path / "nowhere")

    assert "No such file or directory" in record.reason


def test_unknown_name_has_a_suggestion(install: Install) -> None:
    """A typing error is answered with what was meant."""
    install(good())

    with pytest.raises(PluginError, match=r"there is no store plugin 'acne'; did you mean `acme`\?"):
        discover().find("store", "acne")


def test_broken_plugin_that_is_asked_for_says_why(install: Install) -> None:
    """The reason of the record reaches whoever wants the plugin."""
    install("raise RuntimeError('no such GPU')")

    with pytest.raises(PluginError, match="the store plugin 'acme' is broken: RuntimeError: no such GPU"):
        discover().find("store", "acme")


def test_discovery_imports_nothing_heavy() -> None:
    """A command that only lists plugins does not pay for what they use."""
    heavy = {"numpy", "PIL", "ai_edge_litert", "watchdog", "sqlite3", "rich", "structlog", "prometheus_client"}
    script = f"import sys; from imgtag.registry import discover; discover(); print(sorted({heavy} & set(sys.modules)))"

    assert "[]\n" == run_python(script)
