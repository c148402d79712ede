"""Download a file over HTTP whose SHA-256 is known beforehand; an interrupted download is resumed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import urllib3
from urllib3.exceptions import HTTPError

from imgtag import __version__
from imgtag.errors import ModelError, Unavailable
from imgtag.files.ownership import make_public_folder
from imgtag.files.writing import sha256_of

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

MAX_BYTES = 1 << 30
"""Of a download; the largest image classifiers have 350 MB."""
_CHUNK = 1 << 18
_PRIVATE = re.compile(r"(https?://)(?:[^/@]*@)?([^?#]*).*", re.DOTALL)
_TIMEOUT = urllib3.Timeout(connect=10, read=60)

Progress = Callable[[int, int | None], None]
"""Receives the bytes downloaded so far, and the total where it is known."""


def download(url: str, expected: str, folder: Path, progress: Progress = lambda _done, _total: None) -> Path:
    """Download ``url`` into ``folder`` and return the file, whose SHA-256 is ``expected`` (hex).

    An interrupted download stays there, and the same call resumes it. Blocking. Raises Unavailable where the server
    does not answer or the connection breaks; ModelError where the file is a different one.
    """
    target, part = folder / f"download-{expected[:16]}", folder / f".part-{expected[:16]}"
    try:
        make_public_folder(folder)
        if not part.exists() or sha256_of(part) != expected:
            _fetch(url, part, progress)
        actual = sha256_of(part)
        if actual != expected:
            part.unlink()
            hint = "Nothing was added. Try again, or ask the publisher which digest is right."
            raise ModelError(
                f"{public_url(url)} has the SHA-256 {actual}, expected {expected}", hint=hint, code="digest"
            )
        return part.replace(target)
    except OSError as error:
        raise Unavailable(f"{error.filename or folder}: {error.strerror}", hint="Free some space there.") from error


def public_url(url: str) -> str:
    """The URL without user, password and query, which may hold signatures; anything else as it is."""
    return _PRIVATE.sub(r"\1\2", url)


def _fetch(url: str, part: Path, progress: Progress) -> None:
    """Continue where the part ends, or start over where the server cannot resume."""
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": f"imgtag/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    pool = urllib3.PoolManager(timeout=_TIMEOUT, retries=urllib3.Retry(total=3, redirect=5, backoff_factor=0.3))
    try:
        with pool.request("GET", url, headers=headers, preload_content=False) as answer:
            if answer.status not in {200, 206} and not (answer.status == 416 and start):
                hint = "Check the URL."
                raise ModelError(f"{public_url(url)}: the server answered {answer.status}", hint=hint, code="absent")
            if answer.status != 206 and start:  # the server ignores ranges, or the part is as long as its file
                part.unlink()
                start = 0
            if answer.status != 416:
                return _append(url, answer, part, start, progress)
    except HTTPError as error:
        hint = "Run the same command again to resume. Without internet access, copy the file here and add that."
        reason = " ".join(str(getattr(error, "reason", None) or error).split())
        raise Unavailable(f"cannot download {public_url(url)}: {reason}", hint=hint) from None
    return _fetch(url, part, progress)


def _append(url: str, answer: BaseHTTPResponse, part: Path, done: int, progress: Progress) -> None:
    length = answer.headers.get("Content-Length")
    total = done + int(length) if length and length.isdigit() else None
    if total is not None and total > MAX_BYTES:
        message = f"{public_url(url)} has {total:,} bytes; the limit is {MAX_BYTES:,}"
        raise ModelError(message, hint="Is it a model?", code="too_large")
    with part.open("ab") as file:
        for chunk in answer.stream(_CHUNK):
            done += len(chunk)
            if done > MAX_BYTES:  # the server sent no length, or a wrong one
                message = f"{public_url(url)} has more than {MAX_BYTES:,} bytes"
                raise ModelError(message, hint="Is it a model?", code="too_large")
            file.write(chunk)
            progress(done, total)
    if total is not None and done < total:
        message = f"{public_url(url)}: the connection broke after {done:,} of {total:,} bytes"
        raise Unavailable(message, hint="Run the same command again to resume.")
