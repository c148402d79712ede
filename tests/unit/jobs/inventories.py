"""Inventories as S3 writes them."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from datetime import UTC, datetime
from hashlib import md5
from importlib import import_module
from urllib.parse import quote_plus

import pytest

ALL = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "LastModifiedDate", "ETag")


def row(key, **columns):
    """One object, by column; a column of None is empty."""
    values = {
        "Bucket": "pictures",
        "Key": quote_plus(key, safe="/"),
        "VersionId": "v1",
        "IsLatest": "true",
        "IsDeleteMarker": "false",
        "Size": "123",
        "LastModifiedDate": "2026-11-27T01:02:03.000Z",
        "ETag": "d41d8cd98f00b204e9800998ecf8427e",
    }
    return values | columns


def to_csv(rows, columns=ALL):
    """A data file."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
        [[row[column] or "" for column in columns] for row in rows]
    )
    return gzip.compress(text.getvalue().encode(), mtime=0)


def require_pyarrow(module="pyarrow"):
    """A module of the extra `inventory`; without it the test is skipped, and on CI it fails."""
    if os.environ.get("CI") == "true":
        return import_module(module)
    return pytest.importorskip(module)


def to_table(rows):
    """The same as columns of Parquet and ORC, where keys are not URL-encoded."""
    pa = require_pyarrow()
    modified = pa.array([datetime(2026, 11, 27, 1, 2, 3, tzinfo=UTC)] * len(rows), pa.timestamp("ms", "UTC"))
    return pa.table(
        {
            "bucket": [row["Bucket"] for row in rows],
            "key": [row["Key"] for row in rows],
            "version_id": [row["VersionId"] for row in rows],
            "is_latest": [row["IsLatest"] == "true" for row in rows],
            "is_delete_marker": [row["IsDeleteMarker"] == "true" for row in rows],
            "size": [None if row["Size"] is None else int(row["Size"]) for row in rows],
            "last_modified_date": modified,
            "e_tag": [row["ETag"] for row in rows],
        }
    )


def manifest(data_files, *, columns=ALL, **changes):
    """The manifest of data files, by name."""
    described = [
        {"key": name, "size": len(data), "MD5checksum": md5(data).hexdigest()} for name, data in data_files.items()
    ]
    content = {
        "sourceBucket": "pictures",
        "destinationBucket": "arn:aws:s3:::inventories",
        "version": "2016-11-30",
        "creationTimestamp": "1795741200000",
        "fileFormat": "CSV",
        "fileSchema": ", ".join(columns),
        "files": described,
    }
    return json.dumps(content | changes).encode()
