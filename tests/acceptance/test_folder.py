"""A folder as an admin uses it: drop, search, overwrite, move, delete, stop, start."""

from __future__ import annotations

import os

import pytest

from acceptance.conftest import Site
from acceptance_support import wait_until, wait_until_quiet

pytestmark = pytest.mark.timeout(300)
ORDINARY = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"] if os.geteuid() == 0 else []
)
"""Runs a command that permissions hold back, also where that is root's."""


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A sidecar on a folder, for tests that keep to files of their own."""
    with Site(tmp_path_factory.mktemp("folder")).running() as site:
        yield site


def names(documents):
    return sorted(document["key"] for document in documents)


def test_dropped_pictures_are_marked_and_found(running, photographs):
    """A picture put into the folder gets its labels as attributes and is found by them."""
    (running.root / "a b").mkdir()
    (running.root / "a b" / "kätzchen+1%.jpg").write_bytes(photographs["cat"])
    (running.root / "cup.jpg").write_bytes(photographs["espresso"])
    (running.root / "notes.txt").write_text("no picture")
    wait_until(lambda: len(running.found("kätzchen OR title:cup")) == 2)

    (cat,) = running.found("cat kätzchen")

    assert "a b/kätzchen+1%.jpg" == cat["key"]
    assert "pictures" == cat["bucket"]
    attributes = os.listxattr(running.root / "a b" / "kätzchen+1%.jpg")
    assert "user.imgtag_tiger+cat" in attributes
    assert "user.imgtag-mark" in attributes
    assert [] == os.listxattr(running.root / "notes.txt")
    assert "pictures/cup.jpg" in running.ask("search", "--keys", "espresso@0.5").splitlines()


def test_what_happens_to_a_picture_happens_to_its_document(running, photographs):
    """Overwriting, moving and deleting are followed, without a second look at what did not change."""
    (running.root / "life").mkdir()
    before = running.metric("imgtag_writes_total")
    (running.root / "life/old.jpg").write_bytes(photographs["cat"])
    wait_until(lambda: ["life/old.jpg"] == names(running.found("prefix:life/ cat")))

    (running.root / "life/old.jpg").rename(running.root / "life/new.jpg")
    wait_until(lambda: ["life/new.jpg"] == names(running.found("prefix:life/ cat")))
    assert before + 1 == running.metric("imgtag_writes_total")

    (running.root / "life/new.jpg").write_bytes(photographs["daisy"])
    wait_until(lambda: ["life/new.jpg"] == names(running.found("prefix:life/ daisy")))
    assert [] == running.found("prefix:life/ cat")

    (running.root / "life/new.jpg").unlink()
    wait_until(lambda: not running.found("prefix:life/ status:*"))


def test_pictures_are_found_by_what_is_on_them_in_any_word(running, photographs):
    """By what stands above the labels, by category, by another name; and by none that only sounds like it."""
    (running.root / "words").mkdir()
    for name in ("cat", "espresso"):
        (running.root / f"words/{name[::-1]}.jpg").write_bytes(photographs[name])
    wait_until(lambda: len(running.found("prefix:words/")) == 2)

    assert ["words/tac.jpg"] == names(running.found("prefix:words/ animal"))
    assert ["words/tac.jpg"] == names(running.found("prefix:words/ cat@0.8"))
    assert ["words/tac.jpg"] == names(running.found("prefix:words/ feline -dog"))
    assert ["words/osserpse.jpg"] == names(running.found("prefix:words/ category:food beverage"))
    assert [] == running.found("prefix:words/ dog")
    (cat,) = running.found("prefix:words/ cat")
    assert {"egyptian cat", "tiger cat"} <= set(cat["labels"])
    assert "cat" not in cat["labels"]
    assert "animal" == cat["category"]
    assert float(os.getxattr(running.root / "words/tac.jpg", "user.imgtag_cat")) > 0.8


def test_label_rules_hold_for_new_pictures(site, photographs):
    """A label that is renamed is written, shown and found by its new name, and found by the old one."""
    rule = '[[label_rules]]\nlabel = "espresso"\nrename = "Coffee to Go"\ncategory = "drink"\n'
    site.configure(f'{rule}[[label_rules]]\nlabel = "esspresso"\ndrop = true\n')
    site.start()
    (site.root / "a.jpg").write_bytes(photographs["espresso"])
    wait_until(lambda: len(site.found()) == 1)

    assert "user.imgtag_coffee+to+go" in os.listxattr(site.root / "a.jpg")
    assert ["coffee to go"] == list(site.found("espresso")[0]["labels"])
    assert ["a.jpg"] == names(site.found("category:drink coffee_to_go@0.5"))
    assert "Coffee to Go (" in site.ask("label", "pictures/a.jpg")
    assert "no label or ancestor of the model matches 'esspresso'; did you mean `espresso`?" in site.ask("doctor")


def test_a_saved_search_is_counted_and_can_be_narrowed(site, photographs):
    """The metric has its hits; on the command line, more words narrow it, whatever it is made of."""
    for name in ("cat", "espresso", "daisy"):
        (site.root / f"{name}.jpg").write_bytes(photographs[name])
    site.configure('[[searches]]\nname = "living"\nquery = "animal OR daisy"\n[[searches]]\nname = "all"\nquery = ""\n')
    site.start()
    wait_until(lambda: len(site.found()) == 3)

    assert 2 == len(site.ask("search", "--saved", "living", "--keys").splitlines())
    assert ["pictures/cat.jpg"] == site.ask("search", "--saved", "living", "--keys", "title:cat*").splitlines()
    assert 3 == len(site.ask("search", "--saved", "all", "--keys").splitlines())
    assert ["pictures/espresso.jpg"] == site.ask("search", "--saved", "all", "--keys", "title:esp*").splitlines()
    assert "there is no saved search 'dead'; the configuration has living, all" in site.ask_wrongly(
        "search", "--saved", "dead", code=2
    )
    site.stop()
    site.start()
    wait_until(lambda: site.metric('imgtag_search_objects{search="living"}') == 2)


def test_what_changed_while_it_was_off_is_reconciled(site, photographs):
    """New, overwritten, moved and deleted files are noticed at the next start, the others cost nothing."""
    for name in ("stays", "goes", "changes", "moves"):
        (site.root / f"{name}.jpg").write_bytes(photographs["cat"])
    site.start()
    wait_until(lambda: len(site.found("cat")) == 4)
    assert 0 == site.stop()

    (site.root / "goes.jpg").unlink()
    (site.root / "changes.jpg").write_bytes(photographs["daisy"])
    (site.root / "moves.jpg").rename(site.root / "moved.jpg")
    (site.root / "comes.jpg").write_bytes(photographs["espresso"])
    site.start()
    wait_until(lambda: site.found("espresso") and site.found("daisy"))
    wait_until(lambda: ["moved.jpg", "stays.jpg"] == names(site.found("cat")))

    assert ["changes.jpg", "comes.jpg", "moved.jpg", "stays.jpg"] == names(site.found("status:*"))
    assert 2 == site.metric("imgtag_writes_total")


def test_a_part_of_a_folder_is_stripped_beside_the_sidecar(site, photographs):
    """Its attributes and documents go, the rest stays labelled; the sidecar sees the changes and leaves them alone."""
    for name in ("gone/cat.jpg", "kept/cup.jpg"):
        (site.root / name).parent.mkdir()
        (site.root / name).write_bytes(photographs["cat" if "cat" in name else "espresso"])
    os.setxattr(site.root / "gone/cat.jpg", "user.imgtag_owner", b"me")
    site.start()
    wait_until(lambda: len(site.found()) == 2)
    assert 0 == site.stop()
    site.configure('[[rules]]\nbucket = "pictures"\ninclude = ["kept/**"]')
    site.start()

    output = site.run("strip", "pictures", "--yes", code=1)
    wait_until_quiet(site, seconds=1)

    assert "1 stripped, 0 untouched, 1 refused (admitted 1), 0 failed; 1 document " in output
    assert ["user.imgtag_owner"] == os.listxattr(site.root / "gone/cat.jpg")
    assert {"kept/cup.jpg"} == site.marked()
    assert ["kept/cup.jpg"] == names(site.found("status:*"))
    assert 0 == site.stop()


def test_it_is_healthy_and_says_so(site, photographs):
    """Liveness, readiness and metrics are served; SIGTERM drains and ends with 0."""
    site.start()
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    wait_until(lambda: len(site.found()) == 1)

    assert '"ok":true' in site.get("/livez")
    assert '"ok":true' in site.get("/readyz")
    assert 1 == site.metric('imgtag_objects_total{result="labelled"}')
    assert 0 == site.stop()
    assert "stopped" == site.events()[-1]
    assert {} == site.lines()[-1]["not_written"]


def test_a_root_that_is_not_mounted_is_not_an_empty_one(site, photographs):
    """With the folder gone, or empty at the start, no document is deleted."""
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    site.start()
    wait_until(lambda: len(site.found()) == 1)
    assert 0 == site.stop()

    away = site.base / "away"
    site.root.rename(away)
    site.root.mkdir()
    site.start()
    wait_until(lambda: "root_unwatched" in site.events())
    assert ["cat.jpg"] == names(site.found())
    assert "the store shows none" in site.ask("doctor", code=1)

    site.root.rmdir()
    away.rename(site.root)
    (site.root / "cup.jpg").write_bytes(photographs["espresso"])
    wait_until(lambda: ["cat.jpg", "cup.jpg"] == names(site.found()))


def test_what_was_forbidden_is_done_once_it_is_permitted(site, photographs):
    """A folder and files without permission are reported; after chmod all are labelled, and nothing is left to do."""
    site.start(under=ORDINARY)
    (site.root / "album").mkdir(mode=0o300)
    wait_until(lambda: "folder_unreadable" in site.events())
    (site.root / "album" / "cat.jpg").write_bytes(photographs["cat"])
    for name, mode in (("secret", 0o000), ("locked", 0o444)):
        made = site.base / f"{name}.jpg"
        made.write_bytes(photographs["cat"])
        made.chmod(mode)
        made.rename(site.root / made.name)
    wait_until(lambda: ["locked.jpg", "secret.jpg"] == names(site.found("code:permission status:*")))
    assert ["locked.jpg"] == names(site.found("cat"))
    assert "secret.jpg" in site.ask("dlq", "list")

    (site.root / "album").chmod(0o700)
    for name in ("secret", "locked"):
        (site.root / f"{name}.jpg").chmod(0o644)
    wait_until(lambda: {"album/cat.jpg", "locked.jpg", "secret.jpg"} == site.marked())
    wait_until(lambda: ["album/cat.jpg", "locked.jpg", "secret.jpg"] == names(site.found("cat")))
    wait_until(lambda: "" == site.ask("dlq", "list"))
    assert [] == site.found("code:permission status:*")
    (site.root / "album" / "cup.jpg").write_bytes(photographs["espresso"])
    wait_until(lambda: ["album/cup.jpg"] == names(site.found("espresso")))
    assert 0 == site.stop()


def test_the_doctor_is_content(site):
    """Every check of a sound site is ok; a folder that is not there is named, with a hint."""
    assert "FAIL" not in site.ask("doctor")
    site.root.rmdir()

    output = site.ask("doctor", code=1)

    assert "FAIL" in output
    assert "hint:" in output


def test_a_sidecar_with_another_key_is_noticed(site, photographs):
    """Its signatures do not verify. With the other key as a second line they do."""
    site.start()
    for name in ("cat", "espresso"):
        (site.root / f"{name}.jpg").write_bytes(photographs[name])
    wait_until(lambda: len(site.found()) == 2)
    site.stop()
    file = site.base / "state" / "mark_key"
    first = file.read_text()
    assert "FAIL" not in site.ask("doctor")

    file.write_text("the key of another sidecar\n")
    failed = site.ask("doctor", code=1)
    file.write_text(f"the key of another sidecar\n{first}")

    assert "2 of 2 marks have a signature of another key, such as that of pictures/" in failed
    assert "FAIL" not in site.ask("doctor")


def test_other_bytes_whose_time_was_set_back_while_nobody_looked_are_labelled(site, photographs):
    """Of the same length and name: only the kernel's own time of the change differs."""
    length = max(map(len, photographs.values()))
    file = site.root / "a.jpg"
    file.write_bytes(photographs["cat"].ljust(length, b"\0"))
    site.start()
    wait_until(lambda: site.found("cat"))
    site.stop()

    before = file.stat()
    with file.open("r+b") as content:
        content.write(photographs["espresso"].ljust(length, b"\0"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    site.start()
    wait_until(lambda: site.found("espresso"))
    assert [] == site.found("cat")
    site.stop()


def test_damaged_pictures_are_set_aside_and_replayed(running, photographs):
    """What cannot be decoded is a dead letter and a document with the reason; replay tries again."""
    (running.root / "damaged").mkdir()
    (running.root / "damaged/cut.jpg").write_bytes(photographs["cat"][:5000])
    (running.root / "damaged/text.jpg").write_text("no picture")
    (running.root / "damaged/good.jpg").write_bytes(photographs["cat"])
    wait_until(
        lambda: len(running.found("prefix:damaged/ status:failed")) == 2 and running.found("prefix:damaged/ cat")
    )

    listed = running.ask("dlq", "list")
    assert "cut.jpg" in listed
    assert "is cut off" in listed
    assert "not_an_image" in listed

    running.ask("dlq", "replay", "--all")
    wait_until(lambda: "cut.jpg" in running.ask("dlq", "list"))
    running.ask("dlq", "drop", "--all", code=2)
    running.ask("dlq", "drop", "--all", "--yes")
    assert "" == running.ask("dlq", "list")
