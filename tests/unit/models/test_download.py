"""Downloads: checked against a digest that is known beforehand, resumed or refused."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from imgtag.errors import ModelError, Unavailable
from imgtag.models import download as module
from imgtag.models.download import download, public_url
from servers.files import FileServer

MODEL = bytes(range(256)) * 4096
DIGEST = sha256(MODEL).hexdigest()


def test_a_file_is_fetched_whole_and_told_of(tmp_path: Path) -> None:
    """The file is in the folder, and the progress was reported."""
    heard: list[tuple[int, int | None]] = []
    with FileServer({"/m.tflite": MODEL}).run() as server:
        path = download(f"{server.url}/m.tflite", DIGEST, tmp_path, lambda there, of: heard.append((there, of)))

    assert MODEL == path.read_bytes()
    assert (len(MODEL), len(MODEL)) == heard[-1]
    assert [path] == list(tmp_path.iterdir())


def test_what_was_cut_goes_on_where_it_was(tmp_path: Path) -> None:
    """The second call asks only for what is missing."""
    with FileServer({"/m": MODEL}, cut=300_000).run() as server:
        with pytest.raises(Unavailable) as caught:
            download(f"{server.url}/m", DIGEST, tmp_path)
        path = download(f"{server.url}/m", DIGEST, tmp_path)

    assert "to resume" in caught.value.hint
    assert MODEL == path.read_bytes()
    assert [("/m", None), ("/m", f"bytes={module._CHUNK}-")] == server.asked


def test_a_server_without_ranges_begins_anew(tmp_path: Path) -> None:
    """A whole file behind a part of it would be none."""
    with FileServer({"/m": MODEL}, ranges=False, cut=300_000).run() as server:
        with pytest.raises(Unavailable):
            download(f"{server.url}/m", DIGEST, tmp_path)
        path = download(f"{server.url}/m", DIGEST, tmp_path)

    assert MODEL == path.read_bytes()


def test_another_file_is_refused_and_not_kept(tmp_path: Path) -> None:
    """Neither it nor its beginning may be taken for a part of the right one later."""
    with FileServer({"/m": b"something else"}).run() as server, pytest.raises(ModelError) as caught:
        download(f"{server.url}/m", DIGEST, tmp_path)

    assert "digest" == caught.value.code
    assert sha256(b"something else").hexdigest() in caught.value.message
    assert [] == list(tmp_path.iterdir())


def test_a_part_of_a_longer_file_is_left_and_begun_anew(tmp_path: Path) -> None:
    """A part that is longer than the file is not of this file."""
    (tmp_path / f".part-{DIGEST[:16]}").write_bytes(MODEL + b"more")
    with FileServer({"/m": MODEL}).run() as server:
        path = download(f"{server.url}/m", DIGEST, tmp_path)

    assert MODEL == path.read_bytes()
    assert [("/m", f"bytes={len(MODEL) + 4}-"), ("/m", None)] == server.asked


def test_a_part_that_is_whole_is_not_asked_for_again(tmp_path: Path) -> None:
    """The process may have ended before the file got its name."""
    (tmp_path / f".part-{DIGEST[:16]}").write_bytes(MODEL)

    path = download("http://127.0.0.1:9/m", DIGEST, tmp_path)

    assert MODEL == path.read_bytes()


def test_a_redirection_is_followed(tmp_path: Path) -> None:
    """What is published is often kept elsewhere."""
    with FileServer({"/there": MODEL}, moved={"/m": "/there"}).run() as server:
        assert MODEL == download(f"{server.url}/m", DIGEST, tmp_path).read_bytes()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With the address and what the server said."""
    with FileServer({}).run() as server, pytest.raises(ModelError, match="the server answered 404"):
        download(f"{server.url}/m", DIGEST, tmp_path)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://me:secret@h:8/a/m.tflite?X-Amz-Signature=f00#x", "https://h:8/a/m.tflite"),
        ("https://h/a@b/m.tflite", "https://h/a@b/m.tflite"),
        ("photos/models/m.tflite", "photos/models/m.tflite"),
    ],
)
def test_what_opens_a_url_is_not_told(url: str, public: str) -> None:
    """Neither passwords nor signatures are printed or kept."""
    assert public == public_url(url)


def test_a_file_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No server fills the disk."""
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with FileServer({"/m": MODEL}).run() as server, pytest.raises(ModelError) as caught:
        download(f"{server.url}/m", DIGEST, tmp_path)

    assert "too_large" == caught.value.code
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000


def test_a_server_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    """What a person needs, and no chain of the library's errors."""
    with pytest.raises(Unavailable, match="cannot download") as caught:
        download("http://127.0.0.1:9/m", DIGEST, tmp_path)

    assert "\n" not in caught.value.message
    assert "copy the file here" in caught.value.hint
