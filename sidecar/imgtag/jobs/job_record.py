"""What scheduled work has done, in records that all sidecars of a site share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from imgtag.plugin.source import RecordKeeper


async def read_fields(records: RecordKeeper, name: str) -> dict[str, Any]:
    """The fields of a record; none where there is none that can be read. Raises Unavailable."""
    data = (await records.read_record(name)).data
    with suppress(ValueError):
        fields = json.loads(data)
        return fields if isinstance(fields, dict) else {}
    return {}


async def update_fields(records: RecordKeeper, name: str, fields: Mapping[str, Any]) -> None:
    """Set these fields of a record, and keep its others. Raises Unavailable."""
    is_written = False
    while not is_written:
        revision = (await records.read_record(name)).revision
        data = json.dumps({**await read_fields(records, name), **fields}).encode()
        is_written = await records.write_record(name, data, revision)
