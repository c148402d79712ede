"""A worker that somebody has taken over tries everything, as different users and on kernels that lack something.

The same attack in a container and in a booted unit: `packaging/test_container.py`, `packaging/test_systemd_boot.py`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from attack.attacker import ATTEMPTS, THREADS
from attack.report import Report

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "explanation" / "threat-model.md"
NOBODY = 65534
AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
NEVER = "find a secret in its own environment"
"""The environment of a worker has nothing in it even where nothing confines it."""
ROOT_ONLY = {
    "open a raw socket",
    "open a packet socket",
    "rewrite its own code",
    "mount",
    "load a BPF map",
    "performance events",
}
"""What no ordinary user may do, or not everywhere."""
SANDBOXED = {"keyrings (keyctl)", "userfaultfd", "io_uring", "new user namespace", "POSIX message queue"}
"""What the kernel, or a container that the tests run in, may forbid to everybody."""
EVERYTHING = {name for group in ATTEMPTS.values() for name in group}

Attack = Callable[..., Report]

pytestmark = [
    pytest.mark.skipif(bool(os.geteuid()), reason="needs root, to become another user"),
    pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv, of util-linux"),
]


@pytest.fixture
def attack() -> Iterator[Attack]:
    """Run the attack as an ordinary user, or as root."""
    # pytest's own folders are root's alone.
    with tempfile.TemporaryDirectory() as folder:
        yield partial(_attack, Path(folder))


def _attack(folder: Path, environment: str, *without: str, root: bool = False) -> Report:
    command = [sys.executable, str(HERE / "victim.py"), str(folder), *(["--without", *without] if without else [])]
    env = {"PATH": os.environ["PATH"]}
    if not root:
        # Its home may be in a folder of root's: then with the system's interpreter, and the modules of ours.
        command[0] = _public_interpreter()
        env["PYTHONPATH"] = os.pathsep.join(_module_folders())
        os.chown(folder, NOBODY, NOBODY)
        command = [*AS_NOBODY, *command]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    return Report.read(done.stdout, environment)


def _public_interpreter() -> str:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        # By way of `env`: setpriv itself still has root's rights when it looks for a program.
        if not subprocess.run([*AS_NOBODY, "env", path, "-c", ""], capture_output=True).returncode:
            return path
    message = f"needs {version} where an ordinary user can run it"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def _module_folders() -> list[str]:
    packages = {str(Path(importlib.util.find_spec(name).origin).parents[1]) for name in ("imgtag", "imgtag_tflite")}
    return [sysconfig.get_path("purelib"), *sorted(packages)]


def test_an_ordinary_user(attack: Attack) -> None:
    """Where user namespaces are permitted, as on most machines."""
    attack("user").require_confined()


def test_an_ordinary_user_without_user_namespaces(attack: Attack) -> None:
    """Sandboxes often forbid them: nothing of the promise depends on them."""
    report = attack("user-without-namespaces", "namespaces")

    assert report.granted == {"landlock", "seccomp"}
    report.require_confined()


def test_root(attack: Attack) -> None:
    """Root's rights do not reach its workers."""
    attack("root", root=True).require_confined()


def test_without_landlock_files_can_be_read(attack: Attack) -> None:
    """On an old kernel: the files of the user, but neither the main process nor the network, and nothing is changed."""
    report = attack("user-without-landlock", "landlock")

    assert "landlock" not in report.granted
    readable = {"read a secret file", "read a file of the sidecar", "list a folder of the sidecar", "read /etc/passwd"}
    assert report.succeeded == {*readable, THREADS}


def test_without_seccomp_no_credential_can_be_read(attack: Attack) -> None:
    """On another architecture: Landlock keeps files, the main process, and TCP."""
    report = attack("user-without-seccomp", "seccomp")

    assert "seccomp" not in report.granted
    kept = {*ATTEMPTS["credentials"], *ATTEMPTS["memory of other processes"], "connect by TCP", "read /etc/passwd"}
    assert not report.succeeded & kept


def test_the_attempts_are_good_ones(attack: Attack) -> None:
    """Without confinement they succeed, so their failure means something."""
    report = attack("unconfined", "confinement")

    assert not report.granted
    assert report.succeeded >= {*EVERYTHING, THREADS} - {NEVER} - ROOT_ONLY - SANDBOXED


def test_those_that_only_root_can_try_are_good_ones_too(attack: Attack) -> None:
    report = attack("unconfined-root", "confinement", root=True)

    assert report.succeeded >= {"open a raw socket", "open a packet socket", "rewrite its own code"}


def test_the_threat_model_has_every_attempt() -> None:
    """Its table is that of `make attack-table`; where the kernel has both features, nothing succeeds."""
    text = PAGE.read_text().partition("<!-- attacks -->")[2].partition("<!-- /attacks -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    cells = {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows if row[-1] in {"yes", "no"}}

    assert set(cells) == EVERYTHING
    weaker = {"not confined (root)", "user, no Landlock", "user, no seccomp"}
    answers = {answer for row in cells.values() for column, answer in row.items() if column not in weaker}
    assert answers == {"no"}
