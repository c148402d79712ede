"""What the codes mean that a store itself gives an object, in words for people."""

from __future__ import annotations

STORE_CODES = {
    "customer_key": "it is encrypted with a key of its uploader (SSE-C), so imgtag cannot read it",
    "archived": "it is in an archive class or on a remote tier, so imgtag cannot read it",
    "permission": "imgtag has no permission for it",
    "retention": "it is under a retention, so imgtag does not write on it",
    "legal_hold": "it is under a legal hold, so imgtag does not write on it",
    "replica": "it is a replica, so imgtag does not write on it",
    "read_only": "it is on a read-only file system, so imgtag cannot write on it",
    "outside_root": "it is a link that leads out of the folder",
}
