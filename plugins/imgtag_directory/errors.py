"""What the file system refuses, as errors of the sidecar."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from imgtag.errors import Unavailable, WriteRefused

if TYPE_CHECKING:
    from imgtag.plugin import ObjectRef

GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
DENIED = frozenset({errno.EACCES, errno.EPERM})

OUTSIDE_ROOT = "outside_root"
PERMISSION = "permission"
READ_ONLY = "read_only"


def map_read_error(what: object, error: OSError) -> Unavailable:
    """For a file system that does not answer, or refuses what it must allow."""
    code = PERMISSION if error.errno in DENIED else None
    return Unavailable(f"{what}: {error.strerror or error}", code=code)


def map_write_error(ref: ObjectRef, error: OSError) -> WriteRefused | Unavailable:
    """For an object that cannot be written: refused, or worth trying again."""
    if error.errno == errno.EROFS:
        return WriteRefused(f"{ref} is on a read-only file system", code=READ_ONLY)
    if error.errno in DENIED:
        return WriteRefused(f"{ref} may not be written", code=PERMISSION)
    return map_read_error(ref, error)
