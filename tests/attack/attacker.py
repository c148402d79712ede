"""A drop-in classifier that stands for a worker that an image has taken over: it tries everything and reports it.

Each label is an attempt, and its probability is 1 where it succeeded. `TARGETS` comes as JSON in the one setting.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import platform
import resource
import signal
import socket
import stat
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imgtag.plugin.classifier import ModelInfo, Scores
from imgtag.plugin.spec import PluginSpec, Settings

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
_COLUMN = ("x86_64", "aarch64").index(platform.machine())
_NUMBERS = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_send_signal": (424, 424),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "shmget": (29, 194),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "msgctl": (71, 187),
    "semget": (64, 190),
    "semctl": (66, 191),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "memfd_create": (319, 279),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "unshare": (272, 97),
    "fork": (56, 220),
}
IPC_PRIVATE, IPC_CREAT, IPC_RMID = 0, 0o1000, 0
PTRACE_SEIZE = 0x4206
F_SETOWN = 8
AF_NETLINK, AF_PACKET = 16, 17


class Targets:
    """What the attack is aimed at."""

    def __init__(self, text: str) -> None:
        fields = json.loads(text)
        self.parent: int = fields["parent"]
        self.sibling: int = fields["sibling"]
        self.secret_file: str = fields["secret_file"]
        self.secret: bytes = fields["secret"].encode()
        self.address: int = fields["address"]
        """Of the secret in the parent's memory."""
        self.descriptor: int = fields["descriptor"]
        """Of the secret file, open in the parent."""
        self.folder = Path(fields["folder"])
        """With a file `existing`, all of the sidecar's user."""
        self.tcp_port: int = fields["tcp_port"]
        self.udp_port: int = fields["udp_port"]
        self.unix_path: str = fields["unix_path"]
        self.abstract: str = fields["abstract"]

    @property
    def existing(self) -> Path:
        return self.folder / "existing"

    def new(self, name: str) -> Path:
        return self.folder / f"new-{name}"


def call(name: str, *arguments: Any) -> int:
    """A raw system call. Raises OSError."""
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = _LIBC.syscall(ctypes.c_long(_NUMBERS[name][_COLUMN]), *wide)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return int(result)


def read_secret_file(t: Targets) -> bool:
    return t.secret in Path(t.secret_file).read_bytes()


def read_existing(t: Targets) -> bool:
    return bool(t.existing.read_bytes())


def read_passwd(_: Targets) -> bool:
    return bool(Path("/etc/passwd").read_bytes())


def list_folder(t: Targets) -> bool:
    return bool(list(t.folder.iterdir()))


def read_own_environment(t: Targets) -> bool:
    return t.secret in json.dumps(dict(os.environ)).encode()


def read_environment(t: Targets) -> bool:
    return t.secret in Path(f"/proc/{t.parent}/environ").read_bytes()


def list_descriptors(t: Targets) -> bool:
    return bool(list(Path(f"/proc/{t.parent}/fd").iterdir()))


def open_descriptor(t: Targets) -> bool:
    return t.secret in Path(f"/proc/{t.parent}/fd/{t.descriptor}").read_bytes()


def read_memory_file(t: Targets) -> bool:
    file = os.open(f"/proc/{t.parent}/mem", os.O_RDONLY)
    return os.pread(file, len(t.secret), t.address) == t.secret


def _vectors(t: Targets) -> tuple[Any, Any, Any]:
    buffer = ctypes.create_string_buffer(len(t.secret))
    here = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), len(t.secret))
    there = (ctypes.c_size_t * 2)(t.address, len(t.secret))
    return buffer, here, there


def read_memory(t: Targets) -> bool:
    buffer, here, there = _vectors(t)
    call("process_vm_readv", t.parent, here, 1, there, 1, 0)
    return buffer.raw == t.secret


def write_memory(t: Targets) -> bool:
    buffer, here, there = _vectors(t)
    buffer.raw = t.secret
    return call("process_vm_writev", t.parent, here, 1, there, 1, 0) > 0


def _seize(pid: int) -> bool:
    call("ptrace", PTRACE_SEIZE, pid, 0, 0)
    return True


def trace_parent(t: Targets) -> bool:
    return _seize(t.parent)


def trace_sibling(t: Targets) -> bool:
    return _seize(t.sibling)


def steal_descriptor(t: Targets) -> bool:
    process = call("pidfd_open", t.parent, 0)
    return call("pidfd_getfd", process, t.descriptor, 0) >= 0


def signal_parent(t: Targets) -> bool:
    os.kill(t.parent, 0)
    return True


def signal_sibling(t: Targets) -> bool:
    os.kill(t.sibling, 0)
    return True


def signal_group(_: Targets) -> bool:
    os.killpg(0, 0)
    return True


def signal_by_descriptor(t: Targets) -> bool:
    process = call("pidfd_open", t.parent, 0)
    return call("pidfd_send_signal", process, 0, None, 0) == 0


def signal_by_socket(t: Targets) -> bool:
    """The owner of a socket gets a signal of our choice when something arrives."""
    channel = next(number for number in range(3, 64) if _is_socket(number))
    fcntl.fcntl(channel, F_SETOWN, t.parent)
    fcntl.fcntl(channel, F_SETOWN, 0)
    return True


def _is_socket(number: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:
        return False


def limit_parent(t: Targets) -> bool:
    limits = resource.prlimit(t.parent, resource.RLIMIT_NOFILE)
    resource.prlimit(t.parent, resource.RLIMIT_NOFILE, limits)
    return True


def slow_parent(t: Targets) -> bool:
    os.setpriority(os.PRIO_PROCESS, t.parent, os.getpriority(os.PRIO_PROCESS, t.parent))
    return True


def lock_existing(t: Targets) -> bool:
    """A lock on the index would stop the sidecar's writes."""
    file = os.open(t.existing, os.O_RDONLY)
    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    return True


def connect_tcp(t: Targets) -> bool:
    with socket.create_connection(("127.0.0.1", t.tcp_port), 2):
        return True


def listen_tcp(_: Targets) -> bool:
    with socket.create_server(("127.0.0.1", 0)):
        return True


def send_udp(t: Targets) -> bool:
    with socket.socket(type=socket.SOCK_DGRAM) as client:
        return client.sendto(b"x", ("127.0.0.1", t.udp_port)) == 1


def _open_socket(family: int, kind: int, protocol: int = 0) -> bool:
    with socket.socket(family, kind, protocol):
        return True


def open_netlink(_: Targets) -> bool:
    return _open_socket(AF_NETLINK, socket.SOCK_RAW)


def open_raw(_: Targets) -> bool:
    return _open_socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def open_packet(_: Targets) -> bool:
    return _open_socket(AF_PACKET, socket.SOCK_RAW)


def connect_unix(t: Targets) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(t.unix_path)
    return True


def connect_abstract(t: Targets) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + t.abstract)
    return True


def create_file(t: Targets) -> bool:
    t.new("file").write_bytes(b"")
    return True


def create_folder(t: Targets) -> bool:
    t.new("folder").mkdir()
    return True


def create_pipe(t: Targets) -> bool:
    os.mkfifo(t.new("pipe"))
    return True


def write_existing(t: Targets) -> bool:
    with t.existing.open("r+b") as file:
        return file.fileno() > 0


def map_existing(t: Targets) -> bool:
    """What a limit of file sizes does not stop."""
    with t.existing.open("r+b") as file, mmap.mmap(file.fileno(), 1) as memory:
        memory[0:1] = memory[0:1]
    return True


def truncate_existing(t: Targets) -> bool:
    os.truncate(t.existing, t.existing.stat().st_size)
    return True


def link_existing(t: Targets) -> bool:
    os.link(t.existing, t.new("link"))
    return True


def rename_existing(t: Targets) -> bool:
    t.existing.rename(t.new("name"))
    t.new("name").rename(t.existing)
    return True


def remove_spare(t: Targets) -> bool:
    (t.folder / "spare").unlink()
    return True


def link_symbolically(t: Targets) -> bool:
    t.new("symlink").symlink_to(t.existing)
    return True


def change_mode(t: Targets) -> bool:
    t.existing.chmod(0o644)
    return True


def change_times(t: Targets) -> bool:
    os.utime(t.existing)
    return True


def change_attribute(t: Targets) -> bool:
    os.setxattr(t.existing, "user.imgtag_x", b"x")
    return True


def change_own_code(_: Targets) -> bool:
    with Path(__file__).open("r+b") as file:
        return file.fileno() > 0


def share_memory_sysv(_: Targets) -> bool:
    return call("shmctl", call("shmget", IPC_PRIVATE, 4096, IPC_CREAT | 0o600), IPC_RMID, None) == 0


def queue_sysv(_: Targets) -> bool:
    return call("msgctl", call("msgget", IPC_PRIVATE, IPC_CREAT | 0o600), 0, None) == 0


def semaphore_sysv(_: Targets) -> bool:
    return call("semctl", call("semget", IPC_PRIVATE, 1, IPC_CREAT | 0o600), 0, 0, None) == 0


def share_memory_posix(_: Targets) -> bool:
    path = Path(f"/dev/shm/imgtag-attack-{os.getpid()}")
    path.write_bytes(b"")
    path.unlink()
    return True


def queue_posix(_: Targets) -> bool:
    name = ctypes.c_char_p(f"imgtag-attack-{os.getpid()}".encode())
    os.close(call("mq_open", name, os.O_CREAT | os.O_RDWR, 0o600, None))
    return call("mq_unlink", name) == 0


def create_memory_file(_: Targets) -> bool:
    return call("memfd_create", ctypes.c_char_p(b"x"), 0) >= 0


def fork(_: Targets) -> bool:
    child = call("fork", int(signal.SIGCHLD), 0, 0, 0, 0)
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return True


def execute(_: Targets) -> bool:
    """A program that does not exist is looked for, where that is permitted."""
    try:
        os.execv("/nonexistent/program", ["program"])
    except FileNotFoundError:
        return True


def new_namespace(_: Targets) -> bool:
    return call("unshare", 0x1000_0000) == 0


def mount(t: Targets) -> bool:
    place = str(t.folder / "empty").encode()
    return _LIBC.mount(b"none", place, b"tmpfs", ctypes.c_ulong(0), None) == 0 and _LIBC.umount(place) == 0


def use_keys(_: Targets) -> bool:
    return call("keyctl", 0, -3, 0) >= 0  # the id of our session keyring


def load_bpf(_: Targets) -> bool:
    return call("bpf", 0, ctypes.create_string_buffer(struct.pack("IIII", 2, 4, 4, 1), 128), 128) >= 0


def handle_faults(_: Targets) -> bool:
    return call("userfaultfd", 1) >= 0


def count_events(_: Targets) -> bool:
    attributes = ctypes.create_string_buffer(struct.pack("IIQ", 1, 128, 0), 128)
    return call("perf_event_open", attributes, 0, -1, -1, 0) >= 0


def start_io_uring(_: Targets) -> bool:
    return call("io_uring_setup", 1, ctypes.create_string_buffer(120)) >= 0


def lift_memory_limit(_: Targets) -> bool:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    return True


def outlive_parent(_: Targets) -> bool:
    """PR_SET_PDEATHSIG, taken back."""
    result = _LIBC.prctl(1, ctypes.c_ulong(signal.SIGKILL), *[ctypes.c_ulong(0)] * 3)
    if result:
        raise OSError(ctypes.get_errno(), "prctl")
    return True


ATTEMPTS: dict[str, dict[str, Callable[[Targets], bool]]] = {
    "credentials": {
        "read a secret file": read_secret_file,
        "find a secret in its own environment": read_own_environment,
        "read the environment of the main process": read_environment,
        "list the descriptors of the main process": list_descriptors,
        "open the secret file through a descriptor of the main process": open_descriptor,
        "take a descriptor of the main process (pidfd_getfd)": steal_descriptor,
    },
    "memory of other processes": {
        "read /proc/pid/mem": read_memory_file,
        "read it (process_vm_readv)": read_memory,
        "write it (process_vm_writev)": write_memory,
        "trace the main process (ptrace)": trace_parent,
        "trace another worker (ptrace)": trace_sibling,
    },
    "other processes": {
        "signal the main process": signal_parent,
        "signal another worker": signal_sibling,
        "signal the process group": signal_group,
        "signal through a pidfd": signal_by_descriptor,
        "signal through the owner of a socket": signal_by_socket,
        "change the limits of the main process": limit_parent,
        "change the priority of the main process": slow_parent,
        "start a process (fork)": fork,
        "execute a program": execute,
        "outlive the main process": outlive_parent,
    },
    "network": {
        "connect by TCP": connect_tcp,
        "listen on TCP": listen_tcp,
        "send by UDP": send_udp,
        "open a netlink socket": open_netlink,
        "open a raw socket": open_raw,
        "open a packet socket": open_packet,
        "connect to a UNIX socket": connect_unix,
        "connect to an abstract UNIX socket": connect_abstract,
    },
    "files": {
        "read a file of the sidecar": read_existing,
        "list a folder of the sidecar": list_folder,
        "read /etc/passwd": read_passwd,
        "create a file": create_file,
        "create a folder": create_folder,
        "create a named pipe": create_pipe,
        "open a file for writing": write_existing,
        "write a file through mmap": map_existing,
        "truncate": truncate_existing,
        "link": link_existing,
        "rename": rename_existing,
        "remove": remove_spare,
        "link symbolically": link_symbolically,
        "change the mode (chmod)": change_mode,
        "change the times": change_times,
        "set an extended attribute": change_attribute,
        "lock a file": lock_existing,
        "rewrite its own code": change_own_code,
    },
    "shared memory": {
        "System V shared memory": share_memory_sysv,
        "System V message queue": queue_sysv,
        "System V semaphore": semaphore_sysv,
        "POSIX shared memory": share_memory_posix,
        "POSIX message queue": queue_posix,
        "memfd": create_memory_file,
    },
    "kernel": {
        "new user namespace": new_namespace,
        "mount": mount,
        "keyrings (keyctl)": use_keys,
        "load a BPF map": load_bpf,
        "userfaultfd": handle_faults,
        "performance events": count_events,
        "io_uring": start_io_uring,
        "lift its own memory limit": lift_memory_limit,
    },
}
NAMES = tuple(name for group in ATTEMPTS.values() for name in group)
THREADS = "threads that it starts and computes with"
LABELS = tuple(name.lower() for name in (*NAMES, THREADS))


class AttackSettings(Settings):
    """``targets`` is JSON, so that no path in it is one that the worker is allowed to read."""

    targets: str


class Attacker:
    def __init__(self, settings: AttackSettings) -> None:
        self._targets = Targets(settings.targets)
        self.info = ModelInfo(name="attacker", digest="0" * 64, labels=LABELS, display=LABELS, size=(8, 8))

    def classify(self, images: Sequence[Any]) -> list[Scores]:
        results = [_succeeds(attempt, self._targets) for group in ATTEMPTS.values() for attempt in group.values()]
        return [Scores(probabilities=np.array([*results, _threads()], np.float32)) for _ in images]


def _succeeds(attempt: Callable[[Targets], bool], targets: Targets) -> bool:
    try:
        return attempt(targets)
    except (OSError, ValueError):
        return False


def _threads() -> bool:
    """What a classifier may do."""
    done = []
    threads = [threading.Thread(target=done.append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(done) == len(threads)


SPEC = PluginSpec(
    name="attacker",
    kind="classifier",
    summary="Tries everything; for tests.",
    settings=AttackSettings,
    factory="attacker:Attacker",
    runs="worker",
)
