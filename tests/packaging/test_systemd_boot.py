"""The Debian package in a Debian that is booted, with the sidecar between a real MinIO and a real nats-server."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import pytest
from minio import Minio
from PIL import Image

from acceptance_support import wait_until
from attack.report import Report
from integration.conftest import binary
from servers.machine import Machine, debian
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer
from servers.process import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CONFIG = """\
[store.s3]
endpoint = "{minio.endpoint}"
access_key = "{minio.access_key}"
secret_key_file = "{secret}"

[source.nats]
url = "{nats.url}"

[indexer.sqlite]

[[rules]]
bucket = "photos"

[ops]
listen = "127.0.0.1:{port}"

[pipeline]
require_confinement = true

[site]
name = "{site}"

{state}
"""
VOLATILE = ("proc", "sys", "dev", "run", "tmp", "var/tmp", "var/log", "var/cache", "var/lib/dpkg", "var/lib/apt")
LABEL = """\
[Service]
Type=oneshot
ExecStart=
ExecStart=/usr/bin/imgtag label --json {pictures}
StandardOutput=file:/run/scores
Restart=no
WatchdogSec=0
"""
ATTACK = """\
[Service]
Type=oneshot
ExecStart=
ExecStart=/usr/lib/imgtag/bin/python /opt/attack/victim.py /tmp/attacked
StandardOutput=file:/run/attack
Restart=no
WatchdogSec=0
"""


class Sidecar:
    """The installed package, and the servers around it."""

    def __init__(self, machine: Machine, minio: MinioServer, nats: NatsServer, unit: str = "imgtag") -> None:
        self.machine, self.minio, self.nats, self.unit = machine, minio, nats, unit
        self.run, self.call = machine.run, machine.call
        host = f"127.0.0.1:{minio.port}"
        self.user = Minio(host, minio.access_key, minio.secret_key, secure=False, region="us-east-1")
        self.user.make_bucket("photos")
        self.name = unit.removeprefix("imgtag@")
        self.secret = "secret_key" if unit == "imgtag" else f"{self.name}.secret_key"
        self._put = 0

    def configure(self) -> None:
        """A configuration for everybody to read, and a secret for root alone; then what root does with it."""
        site = "local" if self.unit == "imgtag" else self.name
        state = f'[state]\ndir = "/var/lib/{self.unit}"'
        text = CONFIG.format(
            minio=self.minio, nats=self.nats, secret=self.secret, port=free_port(), site=site, state=state
        )
        self.machine.path(f"/etc/imgtag/{self.name}.toml").write_text(text)
        self.run("install", "--mode=600", "/dev/stdin", f"/etc/imgtag/{self.secret}", input=self.minio.secret_key)
        self.command("setup", "--yes")

    def command(self, *arguments: str) -> str:
        """`imgtag`, as root types it."""
        return self.run("imgtag", "--config", f"/etc/imgtag/{self.name}.toml", *arguments)

    def put(self, count: int, picture: bytes) -> list[str]:
        """So many pictures, each with bytes of its own; their keys."""
        keys = [f"{self._put + number}.jpg" for number in range(count)]
        for key in keys:
            data = picture + key.encode()
            self.user.put_object("photos", key, BytesIO(data), len(data), content_type="image/jpeg")
        self._put += count
        return keys

    def labelled(self, key: str) -> bool:
        """Whether it has its label in its metadata."""
        names = {name.lower() for name in self.user.stat_object("photos", key).metadata}
        return "x-amz-meta-imgtag_espresso" in names

    def await_labels(self, keys: list[str]) -> None:
        """Wait until all of these are labelled."""
        wait_until(lambda: all(self.labelled(key) for key in keys), describe=self.journal)

    def await_documents(self, keys: list[str]) -> None:
        """Wait until all of these are labelled and found, which takes another process for each look."""
        self.await_labels(keys)
        wait_until(lambda: set(keys) <= self.found(), describe=self.journal)

    def found(self) -> set[str]:
        """Keys that root finds with the plain command."""
        lines = self.command("search", "--json", "--limit", "10000", "espresso").splitlines()
        return {json.loads(line)["key"] for line in lines}

    def show(self, name: str) -> str:
        """One property of the unit."""
        return self.machine.show(self.unit, name)

    def journal(self) -> str:
        """What it said, and what systemd said of it."""
        return self.machine.journal(self.unit)

    @property
    def pid(self) -> str:
        """Its main process, as the machine counts."""
        return self.show("MainPID")

    @property
    def restarts(self) -> int:
        """How often systemd has started it again."""
        return int(self.show("NRestarts"))

    def processes(self) -> list[str]:
        """All of the service: the main one and its workers."""
        return self.run("pgrep", "--full", "^/usr/lib/imgtag/bin/python").split()

    def networks(self) -> set[str]:
        """The networks that they see."""
        return {self.run("readlink", f"/proc/{pid}/ns/net") for pid in self.processes()}

    def status(self, pid: str) -> dict[str, str]:
        """What the kernel says of a process."""
        lines = self.run("cat", f"/proc/{pid}/status").splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def active(self) -> bool:
        """Whether it has said that it is ready."""
        return self.show("ActiveState") == "active"


@pytest.fixture(scope="module")
def picture() -> bytes:
    """Coffee."""
    with Image.open(Path(find_spec("skimage").origin).parent / "data/coffee.png") as opened:
        buffer = BytesIO()
        opened.convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def servers(tmp_path_factory) -> Iterator[tuple[MinioServer, NatsServer]]:
    """MinIO that tells nats-server."""
    folder = tmp_path_factory.mktemp("servers")
    with NatsServer(binary("nats-server"), folder / "nats") as nats:
        targets = lanes(nats, "imgtag.local.events", folder / "queue")
        with MinioServer(minio_binary(), folder / "minio", extra=targets) as minio:
            yield minio, nats


def install(machine: Machine, deb: Path) -> None:
    """As its administrator does."""
    copy(machine, deb)
    machine.run("apt-get", "install", "--yes", "--no-install-recommends", "/root/imgtag.deb")
    machine.path("/root/imgtag.deb").unlink()


def copy(machine: Machine, deb: Path) -> None:
    """Bring the package there."""
    machine.path("/root/imgtag.deb").write_bytes(deb.read_bytes())


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory, deb, servers) -> Iterator[Sidecar]:
    """Installed, configured, set up by root, enabled."""
    minio, nats = servers
    with Machine(debian(), tmp_path_factory.mktemp("machine")) as machine:
        install(machine, deb)
        made = Sidecar(machine, minio, nats)
        made.configure()
        made.run("systemctl", "enable", "imgtag")
        yield made


@pytest.fixture
def running(sidecar) -> Sidecar:
    """And running."""
    sidecar.run("systemctl", "reset-failed")
    sidecar.run("systemctl", "start", "imgtag")
    return sidecar


def test_it_works_within_its_whole_sandbox(running, picture):
    """Ready means ready: what is put then is labelled, by processes without rights and without a writable system."""
    running.await_documents(running.put(3, picture))
    processes = running.processes()

    assert len(processes) >= 2
    assert running.pid in processes
    for pid in processes:
        status = running.status(pid)
        assert ("2", "1") == (status["Seccomp"], status["NoNewPrivs"])
        assert {"0000000000000000"} == {status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}
        assert int(status["Uid"].split()[0]) > 60_000  # one of systemd's dynamic users
    for place in ("/usr", "/etc/imgtag", "/opt"):
        done = running.call("nsenter", "--mount", f"--target={running.pid}", "touch", f"{place}/mine")
        assert "Read-only file system" in done.stderr
    assert "infinity" not in {running.show("MemoryMax"), running.show("TasksMax")}
    assert ("0", "") == (str(running.restarts), running.run("systemctl", "--failed", "--no-legend"))


def test_its_secret_is_in_no_environment_and_no_file_of_its_own(running):
    """It comes from a file of root's, by way of systemd."""
    environment = running.run("cat", f"/proc/{running.pid}/environ")
    credential = "/run/credentials/imgtag.service/secret_key"

    assert running.minio.secret_key not in environment + running.run("cat", f"/proc/{running.pid}/cmdline")
    assert "root 600" == running.run("stat", "--format=%U %a", "/etc/imgtag/secret_key").strip()
    assert running.minio.secret_key == running.run("cat", credential)
    assert running.minio.secret_key not in running.journal()
    assert "" == running.run("grep", "-rl", running.minio.secret_key, "/var/lib/private/imgtag", check=False)


def test_it_signs_with_the_key_that_the_package_made(running, picture):
    """Root's commands verify what the service signed: both have the key of the first installation, for root alone."""
    running.await_labels(running.put(1, picture))

    assert "root 600" == running.run("stat", "--format=%U %a", "/etc/imgtag/mark_key").strip()
    checks = [json.loads(line) for line in running.command("doctor", "--json").splitlines()]
    assert [True] == [check["ok"] for check in checks if check["check"] == "mark key"]
    assert "" == running.run("find", "/var/lib/private/imgtag", "-name", "mark_key")


def test_it_comes_back_when_it_is_killed(running, picture):
    """And works on."""
    before = running.restarts
    running.run("kill", "-9", running.pid)
    keys = running.put(3, picture)
    wait_until(lambda: running.restarts == before + 1 and running.active())

    running.await_labels(keys)


def test_a_pipeline_that_stands_still_is_ended_and_started_again(running, picture):
    """A process that lives and does nothing is found by the watchdog, after ten seconds here."""
    with drop_in(running.machine, "WatchdogSec=10\nRestartSec=1"):
        running.run("systemctl", "restart", "imgtag")
        before, frozen = running.restarts, running.pid
        running.run("kill", "-STOP", frozen)
        keys = running.put(3, picture)
        wait_until(lambda: running.restarts == before + 1 and running.active(), 90)

        assert frozen != running.pid
        assert "Watchdog timeout" in running.journal()
        running.await_labels(keys)


def test_what_was_begun_is_finished_at_a_stop(running, picture):
    """It stops well before systemd would lose patience, and what it had not begun is done at the next start."""
    keys = running.put(60, picture)
    begun = time.monotonic()
    running.run("systemctl", "stop", "imgtag")
    took = time.monotonic() - begun

    assert took < 35
    assert ("success", "0") == (running.show("Result"), running.show("ExecMainStatus"))
    assert "" == running.run("pgrep", "--full", "^/usr/lib/imgtag/bin/python", check=False)
    running.run("systemctl", "start", "imgtag")
    running.await_documents(keys)
    assert "" == running.run("imgtag", "dlq", "list")


def test_a_reload_does_not_end_it(running, picture):
    """`systemctl reload` is SIGHUP."""
    pid = running.pid
    if not int(running.status(pid)["SigCgt"], 16) & 1:
        pytest.skip("`imgtag run` does not take SIGHUP yet")
    running.run("systemctl", "reload", "imgtag")

    running.await_labels(running.put(3, picture))
    assert pid == running.pid


def test_a_worker_that_is_taken_over_reaches_nothing(sidecar):
    """The attack of `tests/attack`, in the sandbox of the unit."""
    shutil.copytree(Path(__file__).parents[1] / "attack", sidecar.machine.path("/opt/attack"))
    sidecar.run("cp", "/lib/systemd/system/imgtag.service", "/run/systemd/system/imgtag-attack.service")
    sidecar.run("mkdir", "/run/systemd/system/imgtag-attack.service.d")
    sidecar.run("cp", "/dev/stdin", "/run/systemd/system/imgtag-attack.service.d/attack.conf", input=ATTACK)
    sidecar.run("systemctl", "daemon-reload")
    sidecar.run("systemctl", "start", "imgtag-attack")

    report = Report.read(sidecar.run("cat", "/run/attack"), "unit")
    assert report.granted == {"landlock", "seccomp"}
    report.require_confined()


def test_a_wrong_configuration_is_no_loop(running):
    """It ends with 78 and says why, once; mended, it starts."""
    running.run("systemctl", "stop", "imgtag")
    file = running.machine.path("/etc/imgtag/imgtag.toml")
    good = file.read_text()
    file.write_text(good + "\n[lables]\n")
    try:
        assert running.call("systemctl", "start", "imgtag").returncode

        # One that is to be started again is "activating" meanwhile.
        assert ("failed", "78") == (running.show("ActiveState"), running.show("ExecMainStatus"))
        assert 0 == running.restarts
        assert "lables: unknown setting" in running.journal()
    finally:
        file.write_text(good)
    running.run("systemctl", "start", "imgtag")
    assert running.active()


def test_a_secret_without_a_file_is_said(running):
    """The unit starts all the same, and the sidecar says which one it lacks."""
    running.run("systemctl", "stop", "imgtag")
    running.run("mv", "/etc/imgtag/secret_key", "/root/secret_key")
    try:
        assert running.call("systemctl", "start", "imgtag").returncode
        assert "78" == running.show("ExecMainStatus")
        assert "secret_key_file: the file is empty" in running.journal()
    finally:
        running.run("mv", "/root/secret_key", "/etc/imgtag/secret_key")


def test_what_root_made_in_the_state_folder_is_the_services(running, picture):
    """`imgtag setup` as root makes an index that the service can write."""
    running.run("systemctl", "stop", "imgtag")
    running.run("sh", "-c", "rm /var/lib/private/imgtag/index.sqlite3*")
    running.run("imgtag", "setup", "--yes")
    assert "root" == running.run("stat", "--format=%U", "/var/lib/imgtag/index.sqlite3").strip()
    running.run("systemctl", "start", "imgtag")

    running.await_documents(running.put(1, picture))


def test_scores_are_those_of_outside(running, picture):
    """The sandbox takes nothing away that inference needs."""
    for number in range(5):
        running.machine.path(f"/srv/{number}.jpg").write_bytes(picture + bytes([number]))
    pictures = " ".join(f"/srv/{number}.jpg" for number in range(5))
    running.run("cp", "/lib/systemd/system/imgtag.service", "/run/systemd/system/imgtag-label.service")
    running.run("mkdir", "/run/systemd/system/imgtag-label.service.d")
    running.machine.run(
        "cp",
        "/dev/stdin",
        "/run/systemd/system/imgtag-label.service.d/label.conf",
        input=LABEL.format(pictures=pictures),
    )
    running.run("systemctl", "daemon-reload")
    running.run("systemctl", "start", "imgtag-label")

    inside = [json.loads(line) for line in running.run("cat", "/run/scores").splitlines()]
    outside = [json.loads(line) for line in running.run("imgtag", "label", "--json", *pictures.split()).splitlines()]
    assert 5 == len(inside)
    for line in inside + outside:
        del line["ms"]
    assert outside == inside


def test_an_encrypted_secret_takes_the_place_of_the_plain_one(running, picture):
    """By one line of a drop-in; then no plain file is needed."""
    machine, file = running.machine, "/etc/imgtag/secret_key"
    machine.run("systemd-creds", "encrypt", "--name=secret_key", file, f"{file}.cred")
    with drop_in(machine, f"LoadCredentialEncrypted=secret_key:{file}.cred"):
        machine.run("mv", file, "/root/secret_key")
        try:
            machine.run("systemctl", "restart", "imgtag")
            assert running.minio.secret_key == machine.run("cat", "/run/credentials/imgtag.service/secret_key")
            keys = running.put(1, picture)
            wait_until(lambda: running.labelled(keys[0]), describe=running.journal)
        finally:
            machine.run("mv", "/root/secret_key", file)


def test_workers_can_be_allowed_to_leave_the_network(running):
    """They stay in it by default, and are out of it with the example that says so; the main process stays."""
    network = running.machine.run("readlink", "/proc/1/ns/net")
    assert {network} == set(running.networks())
    example = "/usr/share/doc/imgtag/examples/imgtag.service.d/worker-network.conf"
    with drop_in(running.machine, running.run("cat", example)):
        running.run("systemctl", "restart", "imgtag")
        wait_until(lambda: len(running.networks() - {network}) == len(running.processes()) - 1)


def test_a_folder_is_labelled_with_its_example(running, picture):
    """The sidecar's user writes on files of its group in a system that is read-only otherwise."""
    machine = running.machine
    machine.run("groupadd", "pictures")
    machine.run("install", "--directory", "--mode=2775", "--group=pictures", "/srv/pictures")
    file, good = machine.path("/etc/imgtag/imgtag.toml"), machine.path("/etc/imgtag/imgtag.toml").read_text()
    file.write_text(f'[store.directory]\nroot = "/srv/pictures"\n[ops]\nlisten = "127.0.0.1:{free_port()}"\n')
    try:
        with drop_in(machine, machine.run("cat", "/usr/share/doc/imgtag/examples/imgtag.service.d/folder.conf")):
            machine.path("/srv/pictures/a.jpg").write_bytes(picture)
            machine.run("chgrp", "pictures", "/srv/pictures/a.jpg")
            machine.run("chmod", "664", "/srv/pictures/a.jpg")
            machine.run("systemctl", "restart", "imgtag")
            marked = lambda: "user.imgtag_espresso" in os.listxattr(machine.path("/srv/pictures/a.jpg"))  # noqa: E731
            wait_until(marked, describe=running.journal)
    finally:
        file.write_text(good)
    machine.run("systemctl", "restart", "imgtag")


def test_an_upgrade_goes_on_with_what_runs(running, picture, deb):
    """The new one is started in the place of the old; what was stopped stays so."""
    before = running.pid
    copy(running.machine, deb)
    running.run("apt-get", "install", "--yes", "--reinstall", "/root/imgtag.deb")

    assert running.active()
    assert before != running.pid
    running.await_labels(running.put(1, picture))
    running.run("systemctl", "stop", "imgtag")
    running.run("apt-get", "install", "--yes", "--reinstall", "/root/imgtag.deb")
    assert not running.active()


@contextmanager
def drop_in(machine: Machine, text: str) -> Iterator[None]:
    """Settings of the unit, until the context ends."""
    folder = "/etc/systemd/system/imgtag.service.d"
    machine.run("mkdir", "--parents", folder)
    header = "" if "[Service]" in text else "[Service]\n"
    machine.run("cp", "/dev/stdin", f"{folder}/mine.conf", input=f"{header}{text}\n")
    machine.run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        machine.run("rm", f"{folder}/mine.conf")
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", "imgtag", check=False)


def test_several_stores_on_one_node(running, picture, tmp_path):
    """Each has its configuration, its secret, its state and its user."""
    targets = lanes(running.nats, "imgtag.east.events", tmp_path / "queue")
    with MinioServer(minio_binary(), tmp_path / "minio", extra=targets) as minio:
        east = Sidecar(running.machine, minio, running.nats, "imgtag@east")
        east.configure()
        east.run("systemctl", "start", "imgtag@east")
        keys = east.put(2, picture)
        running.await_labels(running.put(2, picture))
        east.await_documents(keys)

        folders = ("/var/lib/private/imgtag", "/var/lib/private/imgtag@east")
        assert 2 == len(set(running.run("stat", "--format=%u", *folders).split()))
        assert set(keys) == east.found()
        east.run("systemctl", "stop", "imgtag@east")


def test_purge_leaves_nothing(tmp_path, deb):
    """A fresh installation does nothing by itself; with both units used, all is gone after the purge."""
    with Machine(debian(), tmp_path) as machine:
        before = files(machine)
        install(machine, deb)
        untouched(machine)
        use(machine)
        machine.run("apt-get", "remove", "--yes", "imgtag")
        assert "secret" == machine.run("cat", "/etc/imgtag/secret_key")
        assert "active" != machine.show("imgtag@east", "ActiveState")
        machine.run("apt-get", "purge", "--yes", "imgtag")

        assert set() == files(machine) ^ before
        assert "" == machine.run("systemctl", "list-unit-files", "--no-legend", "imgtag*", check=False)
        assert "" == machine.run("systemctl", "list-units", "--state=active,failed", "--no-legend", "imgtag*")


def untouched(machine: Machine) -> None:
    """Nothing runs, the command says what is missing, and the manual is there."""
    assert "disabled\ndisabled" == machine.run("systemctl", "is-enabled", "imgtag", "imgtag@", check=False).strip()
    assert "inactive" == machine.show("imgtag", "ActiveState")
    assert "root 755" == machine.run("stat", "--format=%U %a", "/etc/imgtag").strip()
    done = machine.call("imgtag", "run")
    assert 78 == done.returncode
    assert "no store is configured" in done.stderr
    assert "" == machine.run("systemd-analyze", "verify", "imgtag.service", "imgtag@east.service")
    assert "imgtag-run - Label new images" in machine.run("man", "imgtag-run").replace("‐", "-").replace("  ", " ")


def use(machine: Machine) -> None:
    """A folder, labelled by both units, with secrets, drop-ins and all that an administrator adds."""
    machine.run("mkdir", "/srv/pictures")
    for name in ("imgtag", "east"):
        text = f'[store.directory]\nroot = "/srv/pictures"\n[ops]\nlisten = "127.0.0.1:{free_port()}"\n'
        machine.path(f"/etc/imgtag/{name}.toml").write_text(text)
    machine.run("install", "--mode=600", "/dev/stdin", "/etc/imgtag/secret_key", input="secret")
    machine.run("mkdir", "-p", "/etc/systemd/system/imgtag.service.d", "/etc/systemd/system/imgtag@east.service.d")
    for unit in ("imgtag", "imgtag@east"):
        machine.run("cp", "/dev/stdin", f"/etc/systemd/system/{unit}.service.d/mine.conf", input="[Service]\nNice=1\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "--now", "imgtag", "imgtag@east")
    assert ["active", "active"] == machine.run("systemctl", "is-active", "imgtag", "imgtag@east").split()
    machine.run("rmdir", "/srv/pictures")


def files(machine: Machine) -> set[str]:
    """Everything that is on its disk, but for what changes by itself."""
    skip = [word for place in VOLATILE for word in ("-path", f"/{place}", "-o")]
    listing = machine.run("find", "/", "(", *skip[:-1], ")", "-prune", "-o", "-print")
    return set(listing.splitlines())
