"""Errors as plain words, exit codes, and no import that is not needed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator

import click
import pytest

from imgtag import __version__
from imgtag.cli.main import COMMANDS, App, main, pass_app
from imgtag.config.findings import Finding, InvalidConfig
from imgtag.errors import ModelError, Unavailable

Does = Callable[[Callable[[], object]], None]


@pytest.fixture(autouse=True)
def restore_log_level() -> Iterator[None]:
    """`-v` sets a logger's level for the whole process, where later tests would see it."""
    log = logging.getLogger("imgtag.workers")
    level = log.level
    yield
    log.setLevel(level)


@pytest.fixture
def does(monkeypatch: pytest.MonkeyPatch) -> Does:
    """Make the command `run` do something else."""

    def put(act: Callable[[], object]) -> None:
        module = types.ModuleType("imgtag.cli.run")
        module.command = click.command("run")(act)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "imgtag.cli.run", module)

    return put


def raising(error: BaseException) -> Callable[[], object]:
    def act() -> None:
        raise error

    return act


def test_error_is_plain_lines(does: Does, capsys: pytest.CaptureFixture[str]) -> None:
    """What went wrong, what it came from, what to do; no traceback, and nothing on stdout."""

    def act() -> None:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as error:
            raise Unavailable("the index does not answer", hint="Is it up?") from error

    does(act)

    assert 1 == main(["run"])
    expected = (
        "imgtag: the index does not answer\n"
        "caused by: ConnectionRefusedError: [Errno 111] Connection refused\n"
        "hint: Is it up?\n"
    )
    assert ("", expected) == capsys.readouterr()


def test_traceback_only_when_asked_for(does: Does, capsys: pytest.CaptureFixture[str]) -> None:
    """-v is for the people who fix the program."""
    does(raising(ModelError("no model")))

    assert 1 == main(["-v", "run"])
    talk = capsys.readouterr().err
    assert "Traceback" in talk
    assert "imgtag: no model\n" in talk


def test_a_fault_of_ours_is_called_so(does: Does, capsys: pytest.CaptureFixture[str]) -> None:
    """Other errors are reported as what they are, with the way to the traceback."""
    does(raising(TypeError("oops")))

    assert 1 == main(["run"])
    assert "imgtag: internal error: TypeError: oops\nhint: Run it again as `imgtag -v" in capsys.readouterr().err


def test_findings_are_lines_and_exit_78(does: Does, capsys: pytest.CaptureFixture[str]) -> None:
    """A unit file tells a wrong configuration from a failure by the exit code."""
    does(
        raising(InvalidConfig([Finding("a.toml", "site.name", "is wrong", 3), Finding("environment", "X", "is none")]))
    )

    assert 78 == main(["run"])
    assert [
        "imgtag: a.toml:3: site.name: is wrong",
        "imgtag: environment: X: is none",
        "hint: Run `imgtag config check` to see every finding.",
    ] == capsys.readouterr().err.splitlines()


def test_errors_of_several_tasks(does: Does, capsys: pytest.CaptureFixture[str]) -> None:
    """Groups are taken apart, and the same error is said once."""
    group = ExceptionGroup(
        "g", [ModelError("one", hint=""), ExceptionGroup("h", [ModelError("one", hint=""), ModelError("two", hint="")])]
    )
    does(raising(group))

    assert 1 == main(["run"])
    assert "imgtag: one\nimgtag: two\n" == capsys.readouterr().err


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda: None, 0),
        (lambda: 1, 1),
        (raising(KeyboardInterrupt()), 130),
        (raising(BaseExceptionGroup("g", [KeyboardInterrupt()])), 130),
        (raising(click.Abort()), 1),
    ],
)
def test_exit_codes(does: Does, capsys: pytest.CaptureFixture[str], act: Callable[[], object], code: int) -> None:
    """A command's own code, 0 without one, and silence after Ctrl-C."""
    does(act)

    assert code == main(["run"])
    assert "" == "".join(capsys.readouterr()).strip()


@pytest.mark.parametrize("arguments", [["no-such"], ["--no-such"], []])
def test_wrong_usage(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Exit code 2, with the usage on stderr."""
    assert 2 == main(arguments)
    assert "Usage: imgtag [OPTIONS] COMMAND [ARGS]..." in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The number and the name."""
    assert 0 == main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_options_reach_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command gets what stands before it."""
    seen: list[App] = []
    module = types.ModuleType("imgtag.cli.run")
    module.command = click.command("run")(pass_app(seen.append))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "imgtag.cli.run", module)

    main(["--config", "x.toml", "-vv", "run"])

    assert ("x.toml", 2) == (str(seen[0].config_file), seen[0].verbose)


def python(*arguments: str, read: int | None = None) -> tuple[int, str, str]:
    """Run the interpreter; with ``read``, its stdout is closed after so many bytes."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        out = child.stdout.read(read) if read is not None else child.stdout.read()
        child.stdout.close()
        return child.wait(), out.decode(), child.stderr.read().decode()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_imports_no_command(arguments: list[str]) -> None:
    """The list of commands costs none of them."""
    loaded = "sorted(m for m in sys.modules if m.startswith(('imgtag.', 'pydantic', 'rich')))"
    script = f"import sys; from imgtag.cli.main import main; main({arguments}); print({loaded})"

    code, out, _ = python("-c", script)

    assert 0 == code
    assert "['imgtag.cli', 'imgtag.cli.main', 'imgtag.cli.terminal', 'imgtag.errors']" == out.splitlines()[-1]
    if arguments == ["--help"]:
        assert all(f"  {name} " in out for name in COMMANDS)


def test_a_reader_that_has_enough_is_no_error() -> None:
    """`imgtag ... | head` says nothing on stderr."""
    code, _, talk = python("-m", "imgtag.cli.main", "config", "example", read=0)

    assert (1, "") == (code, talk)
