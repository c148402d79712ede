#!/usr/bin/env python3
"""Measures the S3 servers that are installed, and writes docs/reference/stores.md.

python scripts/measure_stores.py            measure each, and write the page
python scripts/measure_stores.py weed       measure this one
python scripts/measure_stores.py --page     write the page from the measurements in scripts/stores.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "reference" / "stores.md"
RESULTS = HERE / "stores.json"
sys.path.insert(0, str(HERE.parent / "tests"))

from servers.nats import NatsServer  # noqa: E402 - beside the tests, which use them as well
from servers.stores import SCRIPT, STORES, Minio, StoreServer, version_of  # noqa: E402
from stores.matrix import SUBJECT, measure  # noqa: E402

_HEAD = """\
# Stores

For choosing an S3 server, and for everybody who leaves MinIO: what each server does, measured through the store plugin.
Servers that are not in this table are untested; `imgtag doctor` tests yours.

"""
_FOOT = """
- **`If-Match` on PutObject** decides whether objects without versions are written. imgtag races its conditional write
  against some hundred deletions, overwrites and conditional writes, and trusts a store only if none is lost. Where
  `If-Match` is not atomic, a write could undo a deletion or an upload of the same moment: these are only indexed.
- **Versioned objects** are written by a copy onto themselves, which becomes version 2; version 1 stays as it was.
  versitygw changes the metadata of the version that is there instead, so imgtag does not copy there.
- **Kept** rows are measured with `[store.s3] if_match = true`, which writes in spite of that. They compare an object
  before and after a write: every header, tag, part and byte.
- **Events over NATS**: "by `imgtag setup`" is an entry in the bucket's notifications. versitygw publishes the events of
  all buckets to one subject over core NATS: it waits for no acknowledgement, so it loses what happens while NATS is
  down. A server without events [is polled](../howto/poll.md) instead.

To measure again, on a machine with Go (and Rust for Garage; SeaweedFS takes some minutes to build):

    python scripts/servers.py install minio nats-server versitygw garage weed
    python scripts/measure_stores.py

The store suite of the project runs against the same servers: `tests/stores/test_stores.py` lists what each of them does
not do.
"""


def main() -> int:
    """The exit code: 0."""
    parser = argparse.ArgumentParser(description="Measures S3 servers for docs/reference/stores.md.")
    parser.add_argument("--page", action="store_true", help="write the page from scripts/stores.json only")
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(kind.name for kind in STORES)}; default: all")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if not options.page:
        results |= _measure([kind for kind in STORES if not options.names or kind.name in options.names])
        RESULTS.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    PAGE.write_text(render(results))
    return 0


def _measure(kinds: Sequence[type[Minio | StoreServer]]) -> dict[str, Any]:
    results = {}
    for kind in kinds:
        path, nats_path = SCRIPT["find"](kind.name), SCRIPT["find"]("nats-server")
        if path is None or nats_path is None:
            print(f"{kind.title}: not installed")
            continue
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            nats = stack.enter_context(NatsServer(nats_path, Path(folder) / "nats"))
            server = stack.enter_context(kind.notifying(path, Path(folder) / "server", nats, SUBJECT))
            cells = measure(server, Path(folder), nats)
        print(f"{kind.title}: {json.dumps(cells, indent=2, ensure_ascii=False)}")
        measured = f"{datetime.now(UTC):%Y-%m-%d}"
        results[kind.name] = {"title": kind.title, "version": version_of(kind), "measured": measured, "cells": cells}
    return results


def render(results: Mapping[str, Any]) -> str:
    """The page."""
    stores = [results[kind.name] for kind in STORES if kind.name in results]
    rows = [["", *(store["title"] for store in stores)], ["---", *("---" for _ in stores)]]
    rows += [[fact, *(f"{store[fact]}" for store in stores)] for fact in ("version", "measured")]
    rows += [[row, *(store["cells"].get(row, "") for store in stores)] for row in stores[0]["cells"]]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{_HEAD}{table}\n{_FOOT}"


if __name__ == "__main__":
    sys.exit(main())
