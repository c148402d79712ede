"""Thumbnails on disk."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from imgtag.web.thumbnail_cache import ThumbnailCache


def key(number: int) -> str:
    return sha256(str(number).encode()).hexdigest()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_least_recently_used_go_first(tmp_path):
    """What was read lately stays when room is needed; no more than the limit is there after any write."""
    cache = ThumbnailCache(tmp_path, 10_000)
    for number in range(9):
        cache.write(key(number), bytes(1000))
        os.utime(tmp_path / key(number)[:2] / key(number), (number, number))
    assert bytes(1000) == cache.read(key(0))

    for number in range(9, 12):
        cache.write(key(number), bytes(1000))
        assert sum(path.stat().st_size for path in files(tmp_path)) <= 10_000

    assert cache.read(key(0)) is not None
    assert cache.read(key(1)) is None


def test_another_process_counts_what_is_there(tmp_path):
    """The limit holds for the folder, not for what one process wrote."""
    ThumbnailCache(tmp_path, 10_000).write(key(1), bytes(8000))
    other = ThumbnailCache(tmp_path, 10_000)
    assert bytes(8000) == other.read(key(1))

    os.utime(files(tmp_path)[0], (1, 1))
    other.write(key(2), bytes(8000))

    assert [key(2)] == [path.name for path in files(tmp_path)]


def test_a_damaged_file_is_made_again(tmp_path):
    """As a loss of power may leave it: empty, or with zeros."""
    cache = ThumbnailCache(tmp_path, 10_000)
    for content in (b"", bytes(500), b"\xff" * 500):
        cache.write(key(1), b"a picture")
        files(tmp_path)[0].write_bytes(content)

        assert cache.read(key(1)) is None
        assert [] == files(tmp_path)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    """Nothing is raised; nothing is kept."""
    (tmp_path / "file").touch()
    cache = ThumbnailCache(tmp_path / "file", 10_000)
    cache.write(key(1), b"a picture")

    assert cache.read(key(1)) is None


def test_a_limit_of_zero_keeps_none(tmp_path):
    """`thumbnail_cache = 0`."""
    ThumbnailCache(tmp_path, 0).write(key(1), b"a picture")

    assert [] == files(tmp_path)
