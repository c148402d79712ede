"""Fetch a file over HTTP whose SHA-256 is known beforehand: resumed where it was cut, or refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3
from urllib3.exceptions import HTTPError

from imgtag import __version__
from imgtag.errors import ModelError, Unavailable
from imgtag.files.writing import sha256_of

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

LARGEST = 1 << 30
"""Bytes that are fetched at most; the largest image classifiers have 350 MB."""
_PIECE = 1 << 18
_TIMEOUT = urllib3.Timeout(connect=10, read=60)

Progress = Callable[[int, int | None], None]
"""Is told the bytes that are there, and of how many where that is known."""


def download(url: str, expected: str, folder: Path, progress: Progress = lambda _there, _of: None) -> Path:
    """Fetch ``url`` into ``folder`` and give back the file there, whose SHA-256 is ``expected`` (hex).

    What was fetched before it was cut stays there, and the same call goes on behind it. Blocking. Raises Unavailable
    where the server does not answer or the file is cut; ModelError where it is another file.
    """
    target, part = folder / f"download-{expected[:16]}", folder / f".part-{expected[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        if not part.exists() or sha256_of(part) != expected:
            _fetch(url, part, progress)
        found = sha256_of(part)
        if found != expected:
            part.unlink()
            hint = "Nothing was added. Try again, or ask whoever publishes it which one is right."
            raise ModelError(f"{url} has the SHA-256 {found}, and {expected} was expected", hint=hint, code="digest")
        return part.replace(target)
    except OSError as error:
        raise Unavailable(f"{error.filename or folder}: {error.strerror}", hint="Make room there.") from error


def _fetch(url: str, part: Path, progress: Progress) -> None:
    """Go on behind what is there already, or from the beginning where the server does not do that."""
    there = part.stat().st_size if part.exists() else 0
    try:
        with _asked(url, there) as answer:
            if answer.status not in {200, 206} and not (answer.status == 416 and there):
                raise ModelError(f"{url} was answered by {answer.status}", hint="Is the address right?", code="absent")
            if answer.status != 206 and there:  # it does not go on there, or has no more than that
                part.unlink()
                there = 0
            if answer.status != 416:
                return _store(url, answer, part, there, progress)
    except HTTPError as error:
        hint = "Run the same command again: it goes on. Without internet, bring the file here and add that."
        raise Unavailable(f"{url} cannot be fetched: {_words(error)}", hint=hint) from None
    return _fetch(url, part, progress)


def _asked(url: str, there: int) -> BaseHTTPResponse:
    headers = {"User-Agent": f"imgtag/{__version__}", "Accept-Encoding": "identity"}
    if there:
        headers["Range"] = f"bytes={there}-"
    pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=urllib3.Retry(total=3, redirect=5, backoff_factor=0.3))
    return pool.request("GET", url, headers=headers, preload_content=False)


def _store(url: str, answer: BaseHTTPResponse, part: Path, there: int, progress: Progress) -> None:
    length = answer.headers.get("Content-Length")
    of = there + int(length) if length and length.isdigit() else None
    if of is not None and of > LARGEST:
        raise ModelError(
            f"{url} has {of:,} bytes, and {LARGEST:,} are the most", hint="Is it a model?", code="too_large"
        )
    with part.open("ab") as file:
        for piece in answer.stream(_PIECE):
            there += len(piece)
            if there > LARGEST:
                raise ModelError(f"{url} has more than {LARGEST:,} bytes", hint="Is it a model?", code="too_large")
            file.write(piece)
            progress(there, of)
    if of is not None and there < of:
        raise Unavailable(
            f"{url} was cut after {there:,} of {of:,} bytes", hint="Run the same command again: it goes on."
        )


def _words(error: HTTPError) -> str:
    cause = getattr(error, "reason", None) or error
    return " ".join(str(cause).split())
