"""Which system calls a worker may make: those that decode, compute, read files, run threads, and answer.

All others fail, which leaves out sockets, processes, signals to others, tracing, mounting, keys, shared memory, and
everything that changes a file. https://docs.kernel.org/userspace-api/seccomp_filter.html

A call that is allowed whatever its arguments costs about 10 ns more: Linux 5.11 and later remember it and do not run
the filter. All calls that a worker makes for each image are of that kind, so the order of the filter does not matter.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from imgtag.workers.child.kernel import PR_SET_SECCOMP, control_process

SYSTEM_CALLS: Mapping[str, tuple[int | None, int | None]] = {
    # Files and the one socket. Landlock says which files.
    "access": (21, None),
    "close": (3, 57),
    "close_range": (436, 436),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22),
    "epoll_wait": (232, None),
    "eventfd2": (290, 19),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fadvise64": (221, 223),
    "fstat": (5, 80),
    "fstatfs": (138, 44),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "lseek": (8, 62),
    "lstat": (6, None),
    "newfstatat": (262, 79),
    "pipe2": (293, 59),
    "poll": (7, None),
    "ppoll": (271, 73),
    "pread64": (17, 67),
    "preadv": (295, 69),
    "pselect6": (270, 72),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "recvfrom": (45, 207),
    "select": (23, None),
    "sendto": (44, 206),
    "stat": (4, None),
    "statfs": (137, 43),
    "statx": (332, 291),
    "write": (1, 64),
    "writev": (20, 66),
    # Memory. No descriptor of a file is open for writing, so none can be changed through a mapping.
    "brk": (12, 214),
    "madvise": (28, 233),
    "membarrier": (324, 283),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    # Threads and the end of the process.
    "arch_prctl": (158, None),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "futex": (202, 98),
    "futex_waitv": (449, 449),
    "rseq": (334, 293),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_yield": (24, 124),
    "set_robust_list": (273, 99),
    "set_tid_address": (218, 96),
    # Signals of its own.
    "pause": (34, None),
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134),
    "rt_sigpending": (127, 136),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "rt_sigsuspend": (130, 133),
    "rt_sigtimedwait": (128, 137),
    "sigaltstack": (131, 132),
    # Time, random numbers, and what the process may know of itself and the machine.
    "capget": (125, 90),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "getcpu": (309, 168),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getgroups": (115, 158),
    "getpgrp": (111, None),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "getresgid": (120, 150),
    "getresuid": (118, 148),
    "getrlimit": (97, 163),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "nanosleep": (35, 101),
    "sysinfo": (99, 179),
    "time": (201, None),
    "times": (100, 153),
    "uname": (63, 160),
    # With some arguments only: `_conditions`.
    "clone": (56, 220),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "kill": (62, 129),
    "open": (2, None),
    "openat": (257, 56),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "tgkill": (234, 131),
}
"""Their numbers on x86-64 and aarch64; None where an architecture has no such call."""

_FIRST_RECENT = 424
"""System calls from Linux 5.1 on have numbers from here, and these on every architecture."""
_X32_BIT = 0x4000_0000
"""Marks the calls of x32, a second table of x86-64 that this filter says nothing about."""

# linux/filter.h, linux/seccomp.h
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT = 0x15, 0x35, 0x45
_ALLOW, _KILL, _FAIL = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_MODE_FILTER = 2

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | 0o20_000_000  # the last: __O_TMPFILE
_THREAD = 0x0001_0000  # CLONE_THREAD; a process has none of its bits
_NAMESPACES = 0x7E02_0080  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME
_FCNTL = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: no locks, leases, or owners
_IOCTL = (0x5401, 0x5451)  # TCGETS, by which Python asks for a terminal; FIOCLEX
_PRCTL = (15, 16, 0x5356_4D41)  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA: names of threads and of memory

_Instruction = tuple[int, int, int, int]
"""Code, jump if true, jump if false, operand."""


@dataclass(frozen=True)
class Architecture:
    """Which of the numbers of `SYSTEM_CALLS` count, and how the kernel names the architecture."""

    audit: int
    column: int

    def number(self, name: str) -> int | None:
        """A call's number, if it has one."""
        return SYSTEM_CALLS[name][self.column]


ARCHITECTURES = {"x86_64": Architecture(0xC000_003E, 0), "aarch64": Architecture(0xC000_00B7, 1)}


def filter_system_calls() -> bool:
    """Allow no other system calls from now on; whether the kernel does so. No_new_privs must be set."""
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        return False
    program = b"".join(struct.pack("=HBBI", *line) for line in assemble(architecture, os.getpid()))
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of instructions and their address.
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    try:
        control_process(PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_char_p(pointer))
    except OSError:
        return False
    return True


def assemble(architecture: Architecture, pid: int) -> Sequence[_Instruction]:
    """The filter, for a process of this id."""
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, 1, 0, architecture.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
        (_IF_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, _KILL),
    ]
    conditions = _conditions(pid)
    for name in SYSTEM_CALLS:
        number = architecture.number(name)
        if number is not None:
            body = conditions.get(name, [(_RETURN, 0, 0, _ALLOW)])
            program += [(_IF_EQUAL, 0, len(body), number), *body]
    # A library that meets ENOSYS does without the call, as on an older kernel: `clone3` becomes `clone`.
    return [
        *program,
        (_IF_AT_LEAST, 0, 1, _FIRST_RECENT),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
    ]


def _conditions(pid: int) -> Mapping[str, list[_Instruction]]:
    """What replaces the plain permission of a call. The kernel reads all these arguments as 32 bits, but a pointer."""
    return {
        "open": _if_no_bit(1, _WRITES),
        "openat": _if_no_bit(2, _WRITES),
        "clone": [
            *_load(0),
            (_AND, 0, 0, _THREAD | _NAMESPACES),
            (_IF_EQUAL, 0, 1, _THREAD),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _FAIL | errno.EPERM),
        ],
        "kill": _if_one_of(0, (pid,)),
        "tgkill": _if_one_of(0, (pid,)),
        "fcntl": _if_one_of(1, _FCNTL),
        "ioctl": _if_one_of(1, _IOCTL),
        "prctl": _if_one_of(0, _PRCTL),
        # No new limits; both halves of the pointer to them are looked at.
        "prlimit64": [
            *_load(2),
            (_IF_EQUAL, 0, 3, 0),
            (_LOAD, 0, 0, _FIRST_ARGUMENT + 2 * 8 + 4),
            (_IF_EQUAL, 0, 1, 0),
            (_RETURN, 0, 0, _ALLOW),
            (_RETURN, 0, 0, _FAIL | errno.EPERM),
        ],
    }


def _load(argument: int) -> list[_Instruction]:
    return [(_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * argument)]


def _if_no_bit(argument: int, bits: int) -> list[_Instruction]:
    return [
        *_load(argument),
        (_IF_ANY_BIT, 1, 0, bits),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
    ]


def _if_one_of(argument: int, values: Sequence[int]) -> list[_Instruction]:
    count = len(values)
    tests = [(_IF_EQUAL, count - place, 0, value) for place, value in enumerate(values)]
    return [*_load(argument), *tests, (_RETURN, 0, 0, _FAIL | errno.EPERM), (_RETURN, 0, 0, _ALLOW)]
