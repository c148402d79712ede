"""Landlock: which files this process can open from now on, and whom it can reach.

https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from imgtag.workers.child.kernel import system_call

# The same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1  # LANDLOCK_CREATE_RULESET_VERSION
_PATH_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many rights over files each version of the interface knows; later versions added none."""
_TCP_BIND, _TCP_CONNECT = 1 << 0, 1 << 1
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1
_FIRST_WITH_NETWORK, _FIRST_WITH_SCOPES = 4, 6


def landlock_version() -> int:
    """The version of the interface that this kernel offers; 0 where it has none."""
    try:
        return system_call(_CREATE_RULESET, None, 0, _VERSION)
    except OSError:
        return 0


def restrict_access(readable: Iterable[str]) -> int:
    """Open nothing but what is ``readable`` or below it, for reading only; paths that do not exist are skipped.

    Neither bind nor connect TCP sockets, nor reach abstract UNIX sockets and processes outside, as far as the kernel
    can forbid that. Holds for the calling thread and what it starts. Returns the version in force, 0 for none.
    """
    version = landlock_version()
    if not version:
        return 0
    try:
        # A ruleset that handles, and so forbids, all that this version knows.
        fields = [(1 << _FILE_RIGHTS[min(version, max(_FILE_RIGHTS))]) - 1]
        if version >= _FIRST_WITH_NETWORK:
            fields.append(_TCP_BIND | _TCP_CONNECT)
        if version >= _FIRST_WITH_SCOPES:
            fields.append(_ABSTRACT_SOCKETS | _SIGNALS)
        attributes = struct.pack(f"={len(fields)}Q", *fields)
        ruleset = system_call(_CREATE_RULESET, ctypes.c_char_p(attributes), len(attributes), 0)
        try:
            for path in readable:
                _allow_reading(ruleset, path)
            system_call(_RESTRICT_SELF, ruleset, 0)
        finally:
            os.close(ruleset)
    except OSError:
        return 0
    return version


def _allow_reading(ruleset: int, path: str) -> None:
    try:
        file = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        # A rule on a file refuses rights that only folders have.
        rights = _READ_FILE | _READ_DIR if stat.S_ISDIR(os.fstat(file).st_mode) else _READ_FILE
        rule = struct.pack("=Qi", rights, file)
        system_call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.c_char_p(rule), 0)
    finally:
        os.close(file)
