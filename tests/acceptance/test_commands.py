"""Commands as they are typed."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from acceptance.conftest import Site
from acceptance_support import wait_until

pytestmark = pytest.mark.timeout(180)

IMGTAG = [sys.executable, "-m", "imgtag"]


def run(*arguments, cwd, code=0, env=None):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("IMGTAG_")}
    done = subprocess.run([*IMGTAG, *arguments], capture_output=True, text=True, cwd=cwd, env={**clean, **(env or {})})
    assert code == done.returncode, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, photographs):
    """A sidecar on a folder with a cup and a cat, which are labelled."""
    site = Site(tmp_path_factory.mktemp("labelled"))
    (site.root / "cup.jpg").write_bytes(photographs["espresso"])
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    with site.running():
        wait_until(lambda: len(site.found()) == 2)
        yield site


def test_label_needs_no_configuration(tmp_path, photographs):
    """A picture gets its labels as `label (NN.NN% likely)`, best first."""
    (tmp_path / "cup.jpg").write_bytes(photographs["espresso"])

    output = run("label", "cup.jpg", cwd=tmp_path).stdout.splitlines()

    assert re.fullmatch(r"espresso \(\d\d\.\d\d% likely\)", output[0])
    assert re.fullmatch(r"food 0\.\d\d, drink 0\.\d\d, coffee 0\.\d\d", output[-1])


def test_label_says_of_each_what_is_wrong(tmp_path, photographs):
    """One object a REF in their order; exit 1 where one failed; nothing is written on the file."""
    (tmp_path / "a.jpg").write_bytes(photographs["cat"])
    (tmp_path / "b.jpg").write_text("no picture")
    (tmp_path / "c.jpg").write_bytes(b"")

    lines = run("label", "--json", "a.jpg", "b.jpg", "nowhere", "c.jpg", cwd=tmp_path, code=1).stdout.splitlines()

    answers = [json.loads(line) for line in lines]
    assert ["a.jpg", "b.jpg", "nowhere", "c.jpg"] == [answer["ref"] for answer in answers]
    assert {"ref", "labels", "ancestors", "model", "ms"} == answers[0].keys()
    assert "egyptian cat" in [label["label"] for label in answers[0]["labels"]]
    assert {"animal", "mammal", "feline", "cat"} == {above["label"] for above in answers[0]["ancestors"]}
    assert {"label", "confidence"} == answers[0]["ancestors"][0].keys()
    assert ["not_an_image", "absent", "empty"] == [answer["error"]["code"] for answer in answers[1:]]
    assert {"code", "message", "hint"} == answers[1]["error"].keys()
    assert [] == os.listxattr(tmp_path / "a.jpg")


def test_label_takes_objects_of_the_store(site, photographs):
    """BUCKET/KEY is read from the configured store."""
    (site.root / "deep").mkdir()
    (site.root / "deep" / "cup.jpg").write_bytes(photographs["espresso"])

    assert "espresso" in site.run("label", "pictures/deep/cup.jpg")
    assert "espresso" in site.ask("label", "s3://pictures/deep/cup.jpg")


def test_the_demo_shows_labels_attributes_and_searches(tmp_path):
    """It ends by itself where there is no terminal, and says whose pictures it uses."""
    output = run("demo", cwd=tmp_path).stdout

    for expected in ("espresso", "daisy", "user.imgtag-mark", "imgtag search cat", "CC BY 2.0", "made up"):
        assert expected in output
    assert "nothing" not in output
    assert [] == list(tmp_path.iterdir())


def test_run_without_a_store_says_what_to_write(tmp_path):
    """Exit 78, and the missing table by name."""
    output = run("run", cwd=tmp_path, code=78).stderr

    assert "[store.directory]" in output


def test_a_wrong_configuration_ends_with_78(tmp_path):
    """Every finding at once, with file, line, key and the nearest right name."""
    (tmp_path / "imgtag.toml").write_text('[store.directory]\nroot = "/tmp"\n[labels]\ntreshold = 0.2\ntop_k = "x"\n')

    output = run("run", cwd=tmp_path, code=78).stderr

    assert "imgtag.toml:4: labels.treshold" in output
    assert "did you mean `threshold`" in output
    assert "labels.top_k" in output
    assert "IMGTAG_LABLES__TOP_K" in run("run", cwd=tmp_path, code=78, env={"IMGTAG_LABLES__TOP_K": "3"}).stderr


def test_a_wrong_query_has_a_caret_under_the_place(site):
    """Exit 2, the query, and where it goes wrong."""
    done = subprocess.run(
        [*IMGTAG, "--config", str(site.file), "search", "fox", "size>ten"], capture_output=True, text=True
    )

    assert 2 == done.returncode
    lines = done.stderr.splitlines()
    place = next(number for number, line in enumerate(lines) if line == "fox size>ten")
    assert "^" == lines[place + 1].strip()


def test_search_tells_its_forms_apart(labelled):
    """A minus is a word of the query; --json has labels with confidence and neither scores nor vectors."""
    assert "pictures/cup.jpg\n" == labelled.run("search", "--keys", "-cat")
    (document,) = labelled.found("espresso")
    assert "espresso" == next(iter(document["labels"]))
    assert document["labels"]["espresso"] > 0.5
    assert not {"scores", "_vectors"} & document.keys()
    assert 1 == len(labelled.ask("search", "--keys", "--limit", "1").splitlines())
    assert b"pictures/cup.jpg\0" == labelled.ask("search", "-0", "-cat").encode()
    _check_counts_and_tables(labelled)
    _check_thumbnails(labelled)


def _check_counts_and_tables(site):
    """Facets are those of the hits; CSV has them all; newest first is another order than best first."""
    counts = {
        (line["field"], line["value"]): line["count"]
        for line in map(
            json.loads, site.ask("facets", "--json", "--field", "top_label", "--field", "bucket").splitlines()
        )
    }
    assert 2 == counts["bucket", "pictures"]
    assert 1 == counts["top_label", "espresso"]
    assert "1  Espresso" in site.ask("facets", "espresso").title()
    rows = list(csv.DictReader(site.ask("search", "--csv").splitlines()))
    assert {"cup.jpg", "cat.jpg"} == {row["key"] for row in rows}
    first, second = (site.root / name for name in ("cat.jpg", "cup.jpg"))
    newest = max((first, second), key=lambda path: path.stat().st_mtime).name
    assert newest == site.ask("search", "--keys", "--sort", "newest").splitlines()[0].removeprefix("pictures/")


def _check_thumbnails(site):
    """On a terminal of kitty each hit has its picture, as it is in the thumbnails of the page; elsewhere none has."""
    terminal, theirs = pty.openpty()
    arguments, env = [*IMGTAG, "--config", str(site.file), "search"], {**os.environ, "TERM": "xterm-kitty"}
    process, said = subprocess.Popen(arguments, stdout=theirs, env=env), b""
    os.close(theirs)
    with suppress(OSError):  # Linux says so at the end of a terminal
        while piece := os.read(terminal, 65536):
            said += piece
    os.close(terminal)
    assert 0 == process.wait(30), said
    sizes = [tuple(map(int, size)) for size in re.findall(rb"_Ga=T,f=24,s=(\d+),v=(\d+),", said)]
    assert 2 == len(sizes)
    assert all(max(width / 112, height / 96) == 1 for width, height in sizes)
    assert b"cup.jpg" in said
    assert "\x1b_G" not in site.ask("search")
    assert "not a terminal that shows pictures" in site.ask_wrongly("search", "--thumbnails", code=2)


def test_a_word_that_nobody_knows_is_said_so(labelled):
    """With the nearest that there is."""
    done = subprocess.run(
        [*IMGTAG, "--config", str(labelled.file), "search", "espreso"], capture_output=True, text=True, check=True
    )

    assert "did you mean espresso" in done.stderr


def test_plugins_are_listed(tmp_path):
    """The bundled ones are there and ok."""
    lines = run("plugins", "--json", cwd=tmp_path).stdout.splitlines()

    statuses = {(plugin["kind"], plugin["name"]): plugin["status"] for plugin in map(json.loads, lines)}
    assert {
        ("source", "directory"): "ok",
        ("store", "directory"): "ok",
        ("classifier", "tflite"): "ok",
        ("indexer", "sqlite"): "ok",
    }.items() <= statuses.items()
