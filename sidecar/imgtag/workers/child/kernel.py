"""System calls that Python has no function for, with the structures of 64-bit Linux."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

PR_SET_PDEATHSIG, PR_GET_DUMPABLE, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 3, 4, 22
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 38, 47
"""From linux/prctl.h."""


def system_call(number: int, *arguments: Any) -> int:
    """The result of a system call. Arguments are integers or ctypes pointers. Raises OSError."""
    wide = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    return _checked(_LIBC.syscall(ctypes.c_long(number), *wide))


def control_process(option: int, *arguments: Any) -> int:
    """prctl(2); missing arguments are 0. Raises OSError."""
    wide = [ctypes.c_ulong(argument) if isinstance(argument, int) else argument for argument in arguments]
    return _checked(_LIBC.prctl(option, *wide, *[ctypes.c_ulong(0)] * (4 - len(wide))))


def leave_namespaces(flags: int) -> bool:
    """unshare(2); whether the kernel permitted it."""
    return bool(_LIBC.unshare(flags) == 0)


def set_capabilities(kept: int) -> None:
    """capset(2): these capabilities, a bit each, become the effective and the permitted ones. Raises OSError."""
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    low, high = kept & 0xFFFF_FFFF, kept >> 32
    _checked(_LIBC.capset(header, (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return int(result)
