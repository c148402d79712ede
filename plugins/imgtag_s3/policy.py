"""The least permissions that the sidecar's user needs.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/list_amazons3.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

_BUCKET = (
    "s3:GetBucketNotification", "s3:GetBucketObjectLockConfiguration", "s3:GetBucketVersioning",
    "s3:GetEncryptionConfiguration", "s3:ListBucket", "s3:PutBucketNotification",
)  # fmt: skip
_OBJECT = (
    "s3:AbortMultipartUpload", "s3:GetObject", "s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:GetObjectTagging",
    "s3:PutObject",
)  # fmt: skip
_PROBE = ("s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteObject", "s3:GetObject", "s3:PutObject")
_MINIO = ("s3:DeleteObject",)
"""MinIO requires this where others require s3:DeleteObjectVersion, and none of the other `_OTHERS`."""
_OTHERS = (
    "s3:DeleteObjectVersion", "s3:GetObjectAcl", "s3:GetObjectVersion", "s3:GetObjectVersionTagging",
    "s3:PutObjectTagging", "s3:PutObjectVersionTagging",
)  # fmt: skip
_OTHERS_BUCKET = ("s3:ListBucketVersions",)
_TAGS = ("s3:PutObjectTagging",)
_PLAN = ("s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration")
"""Read by `imgtag plan` alone, which says so where it may not."""
_LOCKS = ("s3:PutObjectLegalHold", "s3:PutObjectRetention")


def build_policy(
    buckets: Sequence[str],
    probe_prefix: str,
    *,
    locks: bool = False,
    tags: bool = False,
    plans: bool = False,
    is_minio: bool = True,
    inventory_buckets: Sequence[str] = (),
) -> str:
    """An IAM policy for these buckets, or for all where none are named.

    ``locks``: includes writing to objects under a lock; ``tags``: includes the strategy `tags`; ``plans``:
    includes what only `imgtag plan` reads. ``inventory_buckets`` are only read.
    """
    names = [f"arn:aws:s3:::{bucket}" for bucket in buckets or ("*",)]
    probe = [f"arn:aws:s3:::{probe_prefix}*", f"arn:aws:s3:::{probe_prefix}*/*"]
    objects = {*_OBJECT, *(_LOCKS if locks else ()), *(_TAGS if tags else ()), *(_MINIO if is_minio else _OTHERS)}
    statements = [
        *([] if is_minio else [_allow(("s3:ListAllMyBuckets",), ["arn:aws:s3:::*"])]),
        _allow((*_BUCKET, *(_PLAN if plans else ()), *(() if is_minio else _OTHERS_BUCKET)), names),
        _allow(objects, [f"{name}/*" for name in names]),
        _allow(_PROBE, probe),
    ]
    for bucket in inventory_buckets:
        statements += [
            _allow(("s3:ListBucket",), [f"arn:aws:s3:::{bucket}"]),
            _allow(("s3:GetObject",), [f"arn:aws:s3:::{bucket}/*"]),
        ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)


def _allow(actions: Iterable[str], resources: Sequence[str]) -> dict[str, object]:
    return {"Effect": "Allow", "Action": sorted(actions), "Resource": resources}
