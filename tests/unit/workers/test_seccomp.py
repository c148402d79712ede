"""The filter of system calls, run as the kernel runs it, for both architectures."""

from __future__ import annotations

import errno
import os
import platform
import re
import signal
import struct
from pathlib import Path

import pytest

from imgtag.workers.child.seccomp import ARCHITECTURES, SYSTEM_CALLS, Architecture, assemble

PID = 4711
ALLOWED, KILLED, REFUSED, UNKNOWN = 0x7FFF_0000, 0x8000_0000, 0x5_0000 | errno.EPERM, 0x5_0000 | errno.ENOSYS
FORBIDDEN = {
    # Numbers on x86-64 and aarch64.
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "sendmsg": (46, 211),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "unlinkat": (263, 35),
    "renameat2": (316, 276),
    "linkat": (265, 37),
    "symlinkat": (266, 36),
    "mkdirat": (258, 34),
    "mknodat": (259, 33),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchownat": (260, 54),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "fsetxattr": (190, 7),
    "setpriority": (141, 140),
    "sched_setaffinity": (203, 122),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "seccomp": (317, 277),
    "capset": (126, 91),
    "setuid": (105, 146),
}
RECENT = {
    "pidfd_send_signal": 424,
    "io_uring_setup": 425,
    "pidfd_open": 434,
    "clone3": 435,
    "openat2": 437,
    "pidfd_getfd": 438,
    "fchmodat2": 452,
}
PER_IMAGE = (
    *("recvfrom", "sendto", "read", "write", "futex", "sched_yield"),
    *("brk", "mmap", "mremap", "munmap", "madvise"),
)
"""What decoding, computing and answering call again and again, once everything is loaded."""
machines = pytest.mark.parametrize("machine", ARCHITECTURES)


def verdict(machine: Architecture, number: int, *arguments: int, audit: int | None = None) -> int:
    """What the filter answers."""
    answer, _ = run_filter(machine, number, *arguments, audit=audit)
    return answer


def run_filter(machine: Architecture, number: int, *arguments: int, audit: int | None = None) -> tuple[int, set[int]]:
    """The answer, and the offsets that it loaded. Interprets the few instructions that the filter is made of."""
    data = struct.pack(
        "=iIQ6Q", number - (number >> 31 << 32), audit or machine.audit, 0, *arguments, *[0] * (6 - len(arguments))
    )
    program, place, accumulator, loaded = assemble(machine, PID), 0, 0, set[int]()
    while True:
        code, if_true, if_false, operand = program[place]
        place += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, operand)
                loaded.add(operand)
            case 0x54:
                accumulator &= operand
            case 0x06:
                return operand, loaded
            case 0x15:
                place += if_true if accumulator == operand else if_false
            case 0x35:
                place += if_true if accumulator >= operand else if_false
            case 0x45:
                place += if_true if accumulator & operand else if_false
            case _:
                pytest.fail(f"instruction {code:#x}")


def call(machine: str, name: str, *arguments: int) -> int:
    """The verdict on a call that the filter knows by name."""
    architecture = ARCHITECTURES[machine]
    number = architecture.number(name)
    assert number is not None
    return verdict(architecture, number, *arguments)


@machines
def test_what_decoding_needs_is_allowed(machine: str) -> None:
    for name in ("read", "write", "mmap", "munmap", "futex", "exit_group", "getrandom", "newfstatat", "recvfrom"):
        assert call(machine, name) == ALLOWED, name


@machines
@pytest.mark.parametrize("name", PER_IMAGE)
def test_what_each_image_needs_is_decided_without_its_arguments(machine: str, name: str) -> None:
    """The kernel remembers such answers and does not run the filter again (seccomp_is_const_allow in its sources)."""
    architecture = ARCHITECTURES[machine]
    number = architecture.number(name)
    assert number is not None
    assert run_filter(architecture, number) == (ALLOWED, {0, 4})


@machines
@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_reaches_others_or_changes_files_is_refused(machine: str, name: str) -> None:
    architecture = ARCHITECTURES[machine]
    assert verdict(architecture, FORBIDDEN[name][architecture.column]) == REFUSED


@machines
@pytest.mark.parametrize("name", RECENT)
def test_recent_calls_are_unknown_so_that_libraries_do_without(machine: str, name: str) -> None:
    assert verdict(ARCHITECTURES[machine], RECENT[name]) == UNKNOWN


@machines
def test_files_are_opened_for_reading_only(machine: str) -> None:
    assert call(machine, "openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY) == ALLOWED
    for flag in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_APPEND, os.O_TMPFILE):
        assert call(machine, "openat", 0, 0, flag) == REFUSED, flag


def test_the_old_open_is_held_to_the_same() -> None:
    assert call("x86_64", "open", 0, os.O_RDONLY) == ALLOWED
    assert call("x86_64", "open", 0, os.O_RDWR) == REFUSED


@machines
def test_it_starts_threads_but_no_processes(machine: str) -> None:
    thread = 0x3D0F00  # what glibc and musl ask for
    assert call(machine, "clone", thread) == ALLOWED
    assert call(machine, "clone", signal.SIGCHLD) == REFUSED
    assert call(machine, "clone", 0x4100 | signal.SIGCHLD) == REFUSED  # vfork
    assert call(machine, "clone", thread | 0x4000_0000) == REFUSED  # in a network of its own


@machines
@pytest.mark.parametrize("name", ["kill", "tgkill"])
def test_it_signals_itself_only(machine: str, name: str) -> None:
    assert call(machine, name, PID, signal.SIGABRT) == ALLOWED
    for other in (1, 0, 0xFFFF_FFFF, PID + 1, 2**32 - PID):
        assert call(machine, name, other, signal.SIGKILL) == REFUSED, other


@machines
def test_it_asks_for_its_limits_and_sets_none(machine: str) -> None:
    assert call(machine, "prlimit64", 0, 9, 0, 0x1000) == ALLOWED
    assert call(machine, "prlimit64", 0, 9, 0x1000) == REFUSED
    assert call(machine, "prlimit64", 0, 9, 0x7F00_0000_0000) == REFUSED


@machines
def test_it_takes_no_locks_leases_or_signals_of_files(machine: str) -> None:
    allowed = {command for command in range(2048) if call(machine, "fcntl", 0, command) == ALLOWED}
    assert allowed == {0, 1, 2, 3, 1030}


@machines
def test_it_names_its_threads_and_controls_nothing_else(machine: str) -> None:
    assert {option for option in range(100) if call(machine, "prctl", option) == ALLOWED} == {15, 16}


@machines
def test_another_table_of_calls_ends_the_process(machine: str) -> None:
    """Their numbers mean something else: 32-bit calls, x32."""
    architecture = ARCHITECTURES[machine]
    assert verdict(architecture, 0, audit=0x4000_0003) == KILLED
    assert verdict(architecture, 0x4000_0000 | 41) == KILLED
    assert verdict(architecture, 0xFFFF_FFFF) == KILLED


@pytest.mark.parametrize(
    ("machine", "header"),
    [("x86_64", "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), ("aarch64", "/usr/include/asm-generic/unistd.h")],
)
def test_the_numbers_are_those_of_the_kernels_headers(machine: str, header: str) -> None:
    """The generic table is that of aarch64; its `3264` are names with two spellings."""
    if not Path(header).exists():
        pytest.skip(f"no {header}: install linux-libc-dev")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", Path(header).read_text())
    numbers = {"newfstatat" if name == "fstatat" else name: int(number) for name, number in reversed(defined)}
    column = ARCHITECTURES[machine].column
    for name, pair in [*SYSTEM_CALLS.items(), *FORBIDDEN.items()]:
        if pair[column] is not None:
            assert numbers[name] == pair[column], name


def test_this_machine_is_one_of_them() -> None:
    """Tests of workers below here would show an unfiltered one otherwise."""
    assert platform.machine() in ARCHITECTURES
