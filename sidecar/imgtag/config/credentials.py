"""Credentials from files: `secret_key_file` in place of `secret_key`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imgtag.config.shape import FILE, Leaf, Table

_LIMIT = 64 * 1024


def secret_folders(env: Mapping[str, str], config: Path | None) -> tuple[Path, ...]:
    """Where relative paths are looked up, in this order."""
    credentials = env.get("CREDENTIALS_DIRECTORY")
    beside = config.parent if config else Path()
    return (*([Path(credentials)] if credentials else []), beside)


def read_secrets(
    values: dict[str, Any], keys: Table, folders: Sequence[Path], used: list[Path], above: str = ""
) -> Iterator[tuple[str, str]]:
    """Replace the files that ``values`` name by their contents; yields key and problem. Files go to ``used``."""
    for name, node in keys.items():
        key = f"{above}.{name}" if above else name
        if not isinstance(node, Leaf):
            if isinstance(values.get(name), dict):
                yield from read_secrets(values[name], node, folders, used, key)
        elif node.from_file and name + FILE in values:
            problem = _read_one(values, name, folders, used)
            if problem:
                yield key + FILE, problem


def secrets_in(values: Mapping[str, Any], keys: Table) -> Iterator[str]:
    """The secrets themselves, so that they can be kept out of messages."""
    for name, node in keys.items():
        value = values.get(name)
        if isinstance(node, Leaf):
            if node.secret and isinstance(value, str) and value:
                yield value
        elif isinstance(value, dict):
            yield from secrets_in(value, node)


def _read_one(values: dict[str, Any], name: str, folders: Sequence[Path], used: list[Path]) -> str:
    """Replace one `x_file` by `x`; returns what is wrong, if anything is."""
    path = values.pop(name + FILE)
    if name in values:
        return f"conflicts with `{name}`: keep one of the two"
    values[name] = ""  # given, though its file may not be readable
    if not isinstance(path, str) or not path:
        return "must be the path of a file"
    try:
        # The text of the first of the files that is there, without its last line break.
        existing = [folder / path for folder in folders if (folder / path).exists()]
        chosen = (existing or [folders[-1] / path])[0]
        with chosen.open("rb") as file:
            used.append(chosen)
            content = file.read(_LIMIT + 1)
        if len(content) > _LIMIT:
            raise ValueError("it is too large for a secret")
        try:
            text = content.decode(
                "utf-8-sig"
            )  # Windows editors write a byte order mark, which does not belong to a secret
        except UnicodeDecodeError:
            raise ValueError("it is not UTF-8") from None
        values[name] = text.removesuffix("\n").removesuffix("\r")
    except FileNotFoundError:
        places = [str(folder / path) for folder in folders]
        return f"there is no file {' or '.join(dict.fromkeys(places))}"
    except (OSError, ValueError) as error:
        return f"cannot be read: {error.strerror if isinstance(error, OSError) else error}"
    return "" if values[name] else "the file is empty"
