"""Stands for kernels, containers and units that lack something: a filter of our own refuses it.

``python deny.py FEATURE COMMAND ...`` runs a command so, with all processes that it starts.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

from imgtag.workers.child import confinement
from imgtag.workers.child.kernel import PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, control_process

_COLUMN = ("x86_64", "aarch64").index(platform.machine())
_UNSHARE, _LANDLOCK, _PRCTL = (272, 97), (444, 444), (157, 167)
_LOAD, _RETURN, _IF_EQUAL, _FAIL, _ALLOW = 0x20, 0x06, 0x15, 0x5_0000, 0x7FFF_0000


def deny(features: list[str]) -> None:
    """Refuse these features to this process and what it becomes."""
    if "confinement" in features:
        confinement.confine = lambda _parent, _readable: []
        return
    program = [(_LOAD, 0, 0, 0)]
    if "namespaces" in features:
        program += [(_IF_EQUAL, 0, 1, _UNSHARE[_COLUMN]), (_RETURN, 0, 0, _FAIL | errno.EPERM)]
    if "landlock" in features:
        program += [(_IF_EQUAL, 0, 1, _LANDLOCK[_COLUMN]), (_RETURN, 0, 0, _FAIL | errno.EOPNOTSUPP)]
    if "seccomp" in features:
        # prctl with PR_SET_SECCOMP as its first argument.
        program += [
            (_IF_EQUAL, 0, 3, _PRCTL[_COLUMN]),
            (_LOAD, 0, 0, 16),
            (_IF_EQUAL, 0, 1, PR_SET_SECCOMP),
            (_RETURN, 0, 0, _FAIL | errno.EINVAL),
        ]
    program.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    if os.geteuid():
        control_process(PR_SET_NO_NEW_PRIVS, 1)
    control_process(PR_SET_SECCOMP, 2, ctypes.c_char_p(struct.pack("@HP", len(program), ctypes.addressof(code))))


if __name__ == "__main__":
    deny(sys.argv[1:2])
    os.execvp(sys.argv[2], sys.argv[2:])
