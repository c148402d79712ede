"""Finds plugins: those that installed distributions announce, and those dropped into a directory.

A plugin that cannot be used is a record with the reason, never a traceback.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib.metadata import Distribution, entry_points
from itertools import groupby
from pathlib import Path
from typing import Literal

from imgtag.errors import PluginError
from imgtag.files.ownership import folder_fault
from imgtag.plugin.spec import KINDS, Kind, PluginSpec
from imgtag.plugin_loader import describe, find_factory_fault, find_fault, import_path

Status = Literal["ok", "broken", "refused", "conflict"]

GROUPS: Mapping[Kind, str] = {
    "source": "imgtag.sources",
    "store": "imgtag.stores",
    "classifier": "imgtag.classifiers",
    "indexer": "imgtag.indexers",
}


@dataclass(frozen=True, kw_only=True)
class PluginRecord:
    """A plugin that was found, usable or not.

    ``kind`` is None for a drop-in that was not imported or names no known kind. ``origin`` is distribution and
    version, or a path. ``entry`` is what `import_entry` needs, in any process: ``module:attribute``, for a drop-in
    with the path of its file or folder instead of the module.
    """

    kind: Kind | None
    name: str
    origin: str
    entry: str
    status: Status = "ok"
    reason: str = ""
    spec: PluginSpec | None = None

    @property
    def summary(self) -> str:
        """The plugin's own summary; empty where it is unknown."""
        return self.spec.summary if self.spec else ""


@dataclass(frozen=True)
class Registry:
    """The records of one discovery, by kind and name."""

    records: tuple[PluginRecord, ...]

    def of(self, kind: Kind) -> tuple[PluginRecord, ...]:
        """All records of a kind."""
        return tuple(record for record in self.records if record.kind == kind)

    def usable(self, kind: Kind) -> Mapping[str, PluginSpec]:
        """The plugins of a kind that can be used, by name."""
        return {record.name: record.spec for record in self.of(kind) if record.status == "ok" and record.spec}

    def record(self, kind: Kind, name: str) -> PluginRecord:
        """The record of a usable plugin. Raises PluginError that says why there is none."""
        named = [record for record in self.records if record.name == name and record.kind in {kind, None}]
        usable = [record for record in named if record.status == "ok"]
        if usable:
            return usable[0]
        if named:
            raise PluginError(f"the {kind} plugin {name!r} is {named[0].status}: {named[0].reason}")
        near = suggestion(name, self.usable(kind), cutoff=0.5)  # names are short: s3 for s4
        # A drop-in that was not imported may be the one that is meant: its name is that of its file.
        unread = "".join(f"; {r.origin} is {r.status}: {r.reason}" for r in self.records if r.kind is None)
        raise PluginError(f"there is no {kind} plugin {name!r}{near or unread}")

    def find(self, kind: Kind, name: str) -> PluginSpec:
        """The spec of a usable plugin. Raises PluginError as `record` does."""
        spec = self.record(kind, name).spec
        assert spec is not None, "records that are ok have a spec"
        return spec


def suggestion(word: str, among: Iterable[str], *, cutoff: float = 0.6) -> str:
    """``; did you mean `x`?`` for the nearest of ``among``, or nothing where none is near."""
    near = get_close_matches(word, list(among), n=1, cutoff=cutoff)
    return f"; did you mean `{near[0]}`?" if near else ""


def discover(drop_ins: Path | None = None, *, verify: bool = False) -> Registry:
    """Find the plugins of installed distributions, and those in the directory if one is given.

    ``verify`` also imports their factories, which takes time, to see whether that works.
    """
    records = [*_find_installed(), *(_find_dropped(drop_ins) if drop_ins else ())]
    for place, record in enumerate(records):
        if verify and record.spec is not None:
            with _quiet_import():
                reason = find_factory_fault(record.spec)
            if reason:
                records[place] = replace(record, status="broken", reason=reason, spec=None)
    return Registry(tuple(_mark_conflicts(records)))


def _find_installed() -> Iterator[PluginRecord]:
    points = entry_points()  # of all distributions, which takes a while
    origin_of = cache(_describe_distribution)
    for kind in KINDS:
        for point in points.select(group=GROUPS[kind]):
            origin = origin_of(point.dist) if point.dist else point.value
            record = PluginRecord(kind=kind, name=point.name, origin=origin, entry=f"{point.module}:{point.attr}")
            try:
                with _quiet_import():
                    spec = point.load()
            except (Exception, SystemExit) as error:  # noqa: BLE001  (a stranger's module raises what it likes)
                yield replace(record, status="broken", reason=describe(error))
            else:
                yield _validate(record, spec)


def _describe_distribution(distribution: Distribution) -> str:
    metadata = distribution.metadata  # parsed anew each time
    return f"{metadata['Name']} {metadata['Version']}"


def _validate(record: PluginRecord, spec: object) -> PluginRecord:
    """The record with its spec, or with the reason why that cannot be used."""
    if not isinstance(spec, PluginSpec):
        reason = f"{record.entry} is not a PluginSpec, its type is {type(spec).__name__}"
        return replace(record, status="broken", reason=reason)
    reason = find_fault(spec)
    if not reason and (spec.kind, spec.name) != (record.kind, record.name):
        reason = f"announced as {record.kind} {record.name!r}, but its spec says {spec.kind} {spec.name!r}"
    return replace(record, status="broken", reason=reason) if reason else replace(record, spec=spec)


def _find_dropped(directory: Path) -> Iterator[PluginRecord]:
    """The records of a drop-in directory; one for the directory itself where it cannot be used."""
    directory = directory.absolute()  # so that a relative one shows which folder it was relative to
    whole = PluginRecord(kind=None, name=directory.name, origin=str(directory), entry=str(directory))
    if reason := _unsafe([directory, *directory.glob("__pycache__")]) or folder_fault(directory):
        yield replace(whole, status="refused", reason=reason)
        return
    try:
        members = sorted(
            path.absolute()
            for path in directory.iterdir()
            if not path.name.startswith(("_", ".")) and (path.suffix == ".py" or (path / "__init__.py").is_file())
        )
    except OSError as error:
        yield replace(whole, status="broken", reason=describe(error))
        return
    for path in members:
        yield from _from_path(path)


def _from_path(path: Path) -> Iterator[PluginRecord]:
    record = PluginRecord(kind=None, name=path.stem, origin=str(path), entry=str(path))
    if reason := _unsafe([path, *path.rglob("*")]):
        yield replace(record, status="refused", reason=reason)
        return
    try:
        with _quiet_import():
            module = import_path(path)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (a stranger's module raises what it likes)
        yield replace(record, status="broken", reason=describe(error))
        return
    specs = {name: value for name, value in vars(module).items() if isinstance(value, PluginSpec)}
    if not specs:
        yield replace(record, status="broken", reason="the module has no PluginSpec among its attributes")
    for attribute, spec in specs.items():
        announced = replace(record, entry=f"{path}:{attribute}")
        if spec.kind in KINDS:
            announced = replace(announced, kind=spec.kind, name=str(spec.name))
        yield _validate(announced, spec)


def _unsafe(paths: Iterable[Path]) -> str:
    """Why nothing from these paths may run: anyone who can write there could run code as us."""
    for path in paths:
        try:
            state = path.stat()
        except OSError as error:
            return describe(error)
        if state.st_uid not in {0, os.geteuid()}:
            return f"{path} belongs to user {state.st_uid}, who is neither root nor the user that runs this"
        if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return f"{path} is writable by its group or by everybody; run: chmod go-w {path}"
    return ""


@contextmanager
def _quiet_import() -> Iterator[None]:
    """Import without output among our results, and without bytecode files that a wide umask would make unsafe."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        sys.dont_write_bytecode = before


def _mark_conflicts(records: Sequence[PluginRecord]) -> Iterator[PluginRecord]:
    """The records by kind and name; of several usable ones with the same name, none is used."""

    def place(record: PluginRecord) -> tuple[int, str]:
        return (KINDS.index(record.kind) if record.kind else len(KINDS), record.name)

    for _, group in groupby(sorted(records, key=place), key=place):
        same = list(group)
        usable = [record for record in same if record.status == "ok"]
        for record in same:
            others = ", ".join(other.origin for other in usable if other is not record)
            if record in usable and others:
                yield replace(record, status="conflict", reason=f"{record.origin} and {others} have the same name")
            else:
                yield record
