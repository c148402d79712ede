"""`imgtag setup` and `imgtag setup --remove`, with plugins that make things in a file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imgtag.cli.main import main

PLUGINS = '''
import json, os, signal
from pathlib import Path
from imgtag.errors import ConfigError, Unavailable
from imgtag.plugin.service import Change
from imgtag.plugin.spec import PluginSpec, Settings
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.source import MemorySource
from imgtag.testing.store import MemoryStore

class WorldSettings(Settings):
    """Where things are made, and what goes wrong there."""
    world: Path
    trouble: str = ""

class Maker:
    """Makes the things of its kind in a file that stands for all servers: name -> when it was made."""

    def __init__(self, settings, context):
        super().__init__()
        self.file, self.wrong = settings.world, settings.trouble

    async def __aenter__(self):
        if self.wrong == "away":
            raise Unavailable("the server does not answer", hint="Is it on?")
        return self

    async def setup(self, *, apply):
        return [self.make(name, apply) for name in self.wants if name not in self.there()]

    def make(self, name, apply):
        if self.wrong == "unknown":
            return Change(what=name, hint="NAME=value\\nrestart it, run setup again")
        if not apply:
            return Change(what=name, undo=self.record(name))
        if self.wrong == "broken":
            raise Unavailable("the server does not answer", hint="Is it on?")
        self.save(self.there() | {name: os.getpid()})
        if self.wrong == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return Change(what=name, done=True, undo=self.record(name, at=os.getpid()))

    def record(self, name, **at):
        # What belongs to the stream goes with it.
        return None if name == "consumer" else {"name": name, "world": str(self.file)} | at

    async def undo(self, record, *, apply):
        name = record["name"]
        if record["world"] != str(self.file):
            raise ConfigError(f"{name} is of another server", hint="Go there.")
        there = self.there()
        if name not in there:
            return None
        if there[name] != record.get("at", there[name]):
            return Change(what=name, hint="somebody changed it")
        if apply:
            gone = {name, "consumer"} if name == "stream" else {name}
            self.save({each: at for each, at in there.items() if each not in gone})
        return Change(what=f"{name}, with 3 things in it", done=apply)

    def there(self):
        return json.loads(self.file.read_text())

    def save(self, things):
        self.file.write_text(json.dumps(things))

class Index(Maker, MemoryIndexer):
    wants = ("index",)

class Stream(Maker, MemorySource):
    wants = ("stream", "consumer")

class Notification(Maker, MemoryStore):
    wants = ("notification",)

INDEX = PluginSpec(name="acme", kind="indexer", summary="s", settings=WorldSettings, factory="acme:Index")
STREAM = PluginSpec(name="acme", kind="source", summary="s", settings=WorldSettings, factory="acme:Stream")
NOTIFICATION = PluginSpec(name="acme", kind="store", summary="s", settings=WorldSettings, factory="acme:Notification")
'''

Said = tuple[list[str], str]


class Site:
    """A configuration, and the world that it is about."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.world = folder / "world.json"
        self.ledger = folder / "state" / "setup.json"
        self._capsys = capsys
        drop_ins = folder / "drop-ins"
        drop_ins.mkdir(mode=0o755)
        (drop_ins / "acme.py").write_text(PLUGINS)
        (drop_ins / "acme.py").chmod(0o644)
        self.put({"theirs": 1})
        self.configure()

    def configure(
        self, *, name: str = "home", world: Path | None = None, state: str = "state", key: str = "k", **trouble: str
    ) -> None:
        """``trouble`` is that of each kind; ``key`` signs marks."""
        tables = [
            f'[{kind}.acme]\nworld = "{world or self.world}"\ntrouble = "{trouble.get(kind, "")}"'
            for kind in ("indexer", "source", "store")
        ]
        (self.folder / "imgtag.toml").write_text(
            "\n".join(tables) + f'\n[site]\nname = "{name}"\n[state]\ndir = "{self.folder / state}"\n'
            f'[plugins]\ndir = "{self.folder / "drop-ins"}"\n[[rules]]\nbucket = "photos"\n'
            + (f'[labels]\nmark_key = "{key}"\n' if key else "")
        )

    def setup(self, *arguments: str, code: int = 0) -> Said:
        """Lines of results, and the talk."""
        self._capsys.readouterr()
        assert code == main(self.command(*arguments)), self._capsys.readouterr()
        out, talk = self._capsys.readouterr()
        return out.splitlines(), talk

    def command(self, *arguments: str) -> list[str]:
        return ["--config", str(self.folder / "imgtag.toml"), "setup", *arguments]

    def things(self) -> list[str]:
        return list(json.loads(self.world.read_text()))

    def put(self, things: dict[str, int]) -> None:
        self.world.write_text(json.dumps(things))

    def recorded(self) -> list[str]:
        return [entry["what"] for entry in json.loads(self.ledger.read_text())["made"]] if self.ledger.exists() else []


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Site]:
    yield Site(tmp_path, capsys)
    sys.modules.pop("acme", None)


def test_what_was_made_is_removed(site: Site) -> None:
    """Notifications first, the index last; what was there before stays, and no record is left."""
    assert [f"created: {name}" for name in ("index", "stream", "consumer", "notification")] == site.setup("--yes")[0][
        4:
    ]
    assert ["index", "stream", "notification"] == site.recorded()
    assert 0o600 == site.ledger.stat().st_mode & 0o777

    lines, talk = site.setup("--remove", "--yes")

    names = [f"{name}, with 3 things in it" for name in ("notification", "stream", "index")]
    assert [f"will remove: {name}" for name in names] + [f"removed: {name}" for name in names] == lines
    assert "imgtag run" in talk
    assert ["theirs"] == site.things()
    assert not site.ledger.exists()


def test_a_second_setup_adds(site: Site) -> None:
    """What it makes is recorded beside what the first one made; where nothing is missing, nothing is."""
    site.setup("--yes")
    assert ([], "nothing is missing\n") == site.setup("--yes")
    things = json.loads(site.world.read_text())
    site.put({name: at for name, at in things.items() if name != "index"})
    assert ["missing: index", "created: index"] == site.setup("--yes")[0]

    assert ["stream", "notification", "index"] == site.recorded()
    assert ["notification", "stream", "index"] == [
        line.removeprefix("removed: ").partition(",")[0] for line in site.setup("--remove", "--yes")[0][3:]
    ]
    assert ["theirs"] == site.things()


def test_nobody_is_overrun(site: Site) -> None:
    """Without a terminal and without --yes nothing is made or removed, and all that would be is said."""
    assert [f"missing: {name}" for name in ("index", "stream", "consumer", "notification")] == site.setup(code=2)[0]
    assert (["theirs"], []) == (site.things(), site.recorded())
    site.setup("--yes")
    before = site.things(), site.recorded()

    lines, talk = site.setup("--remove", code=2)

    assert 3 == len(lines)
    assert "--yes" in talk
    assert before == (site.things(), site.recorded())


def test_nothing_recorded(site: Site) -> None:
    """What `imgtag run` or somebody made is not touched; the file that was looked into is named."""
    site.put({"index": 1, "stream": 1})

    lines, talk = site.setup("--remove", "--yes")

    assert [] == lines
    assert str(site.ledger) in talk
    assert ["index", "stream"] == site.things()


@pytest.mark.parametrize(("kind", "made"), [("indexer", ["index"]), ("source", ["index", "stream"])])
def test_setup_that_was_killed(site: Site, kind: str, made: list[str]) -> None:
    """What is made is recorded first: however it ends, nothing is left that --remove does not know."""
    site.configure(**{kind: "killed"})
    done = subprocess.run([sys.executable, "-m", "imgtag", *site.command("--yes")], capture_output=True, check=False)
    assert -signal.SIGKILL == done.returncode, done.stderr
    assert ["theirs", *made] == site.things()
    site.configure()

    lines, _ = site.setup("--remove", "--yes")

    assert [f"removed: {name}, with 3 things in it" for name in reversed(made)] == lines[len(made) :]
    assert (["theirs"], False) == (site.things(), site.ledger.exists())


def test_what_cannot_be_made_yet(site: Site) -> None:
    """The rest is made, what to do stands once below it, and the exit code is 1; only what was made is recorded."""
    site.configure(store="unknown", source="unknown")
    advice = ["NAME=value", "restart it, run setup again"]

    assert advice == site.setup(code=2)[0][4:]
    lines, talk = site.setup("--yes", code=1)

    assert [
        "created: index",
        "NOT created: stream",
        "NOT created: consumer",
        "NOT created: notification",
        *advice,
    ] == lines[4:]
    assert "From now on" in talk
    assert ["index"] == site.recorded()
    lines, talk = site.setup(code=1)  # nothing to ask: nothing can be made
    assert ("NOT created: stream", advice) == (lines[3], lines[6:])
    assert "" == talk


def test_what_was_made_before_a_failure_is_said(site: Site) -> None:
    """And recorded, so that it can be taken back."""
    site.configure(source="broken")

    lines, talk = site.setup("--yes", code=1)

    assert ["created: index"] == lines[4:]
    assert "hint: Is it on?" in talk
    site.configure()
    assert "removed: index, with 3 things in it" in site.setup("--remove", "--yes")[0]
    assert (["theirs"], []) == (site.things(), site.recorded())


def test_what_is_gone_or_changed(site: Site) -> None:
    """Is said, left as it is, and recorded no longer."""
    site.setup("--yes")
    site.put({"theirs": 1, "index": os.getpid(), "stream": 7})

    lines, talk = site.setup("--remove", "--yes")

    assert ["will remove: index, with 3 things in it", "removed: index, with 3 things in it"] == lines
    assert "already gone: notification\n" in talk
    assert "kept: stream: somebody changed it\n" in talk
    assert (["theirs", "stream"], []) == (site.things(), site.recorded())


def test_other_sites_have_their_own(site: Site) -> None:
    """Two sites may have one state folder: each removes what was made for it."""
    site.setup("--yes")
    site.configure(name="away", world=site.folder / "away.json")
    (site.folder / "away.json").write_text("{}")
    site.setup("--yes")
    assert "{}" != (site.folder / "away.json").read_text()
    site.setup("--remove", "--yes")

    assert "{}" == (site.folder / "away.json").read_text()
    assert ["index", "stream", "notification"] == site.recorded()
    assert "nothing to remove" in site.setup("--remove", "--yes")[1]


def test_another_server(site: Site) -> None:
    """Where the settings name another server than it was made on, nothing is removed, and the exit code is 78."""
    site.setup("--yes")
    site.configure(world=site.folder / "other.json")

    lines, talk = site.setup("--remove", "--yes", code=78)

    assert [] == lines
    assert "index is of another server" in talk
    assert "hint: Go there." in talk
    assert ["index", "stream", "notification"] == site.recorded()


def test_a_server_that_is_away(site: Site) -> None:
    """What was made on the others is removed; its own stays recorded for the next time."""
    site.setup("--yes")
    site.configure(source="away")

    lines, talk = site.setup("--remove", "--yes", code=1)

    assert ["removed: notification", "removed: index"] == [line.partition(",")[0] for line in lines[2:]]
    assert "cannot remove stream: the server does not answer" in talk
    assert "hint: Is it on?" in talk
    assert ["stream"] == site.recorded()
    site.configure()
    site.setup("--remove", "--yes")
    assert ["theirs"] == site.things()


def test_record_that_cannot_be_kept(site: Site) -> None:
    """Then nothing is made."""
    (site.folder / "file").touch()
    site.configure(state="file/state")

    _, talk = site.setup("--yes", code=1)

    assert "[state]" in talk
    assert ["theirs"] == site.things()


def test_a_mark_key_is_created_once_and_stays(site: Site) -> None:
    """It is not undone: the labels that it signs stay on the objects. The next setup finds it."""
    site.configure(key="")
    file = site.folder / "state" / "mark_key"

    lines, _ = site.setup("--yes")
    assert f"missing: mark key {file}" in lines[0]
    assert f"created: mark key {file}" in lines[5]
    assert 0o600 == file.stat().st_mode & 0o777
    key = file.read_text()

    assert ([], "nothing is missing\n") == site.setup("--yes")
    site.setup("--remove", "--yes")
    assert key == file.read_text()
    assert not any("mark key" in line for line in site.setup("--yes")[0])
