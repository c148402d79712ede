"""SIGHUP: the configuration is read again, and a bad one changes nothing."""

from __future__ import annotations

import signal

import pytest

from acceptance_support import wait_until

pytestmark = pytest.mark.timeout(300)


def events(site, event):
    return [line for line in site.lines() if line["event"].startswith(event)]


def hang_up(site):
    site.process.send_signal(signal.SIGHUP)


def keys(site):
    return {document["key"] for document in site.found()}


def test_a_new_configuration_is_taken_without_a_restart(site, photographs):
    """What it says holds from then on; the process and its counts stay."""
    site.configure('[[rules]]\nbucket = "pictures"\ninclude = ["a/**"]')
    for folder in ("a", "b"):
        (site.root / folder).mkdir()
    site.start()
    (site.root / "a" / "cat.jpg").write_bytes(photographs["cat"])
    (site.root / "b" / "cup.jpg").write_bytes(photographs["espresso"])
    wait_until(lambda: keys(site) == {"a/cat.jpg"})

    site.configure('[[rules]]\nbucket = "pictures"\n[labels]\nprefix = "seen_"')
    hang_up(site)

    wait_until(lambda: keys(site) == {"a/cat.jpg", "b/cup.jpg"})
    assert 2 == len(events(site, "ready"))
    assert 1 == site.metric('imgtag_config_reloads_total{result="taken"}')
    assert site.metric('imgtag_objects_total{result="labelled"}') >= 2
    assert site.process.poll() is None
    assert 0 == site.stop()


BAD = {
    "[labels]\ntop_kk = 3": "labels.top_kk: unknown setting; did you mean `top_k`?",
    "no toml": "not valid TOML",
    '[classifier.tflite]\nmodel = "/no/such.tflite"': "cannot read the model",
    '[[rules]]\nbucket = "pictures"\nmodel = "birds"': "there is no model 'birds'",
}


def test_a_bad_configuration_is_refused_with_its_findings(site, photographs):
    """The old one goes on, and labels."""
    site.start()

    for number, (more, finding) in enumerate(BAD.items(), 1):
        site.configure(more)
        hang_up(site)

        wait_until(lambda number=number: len(events(site, "config_rejected")) == number)
        assert finding in " ".join(events(site, "config_rejected")[-1]["findings"])
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    assert len(BAD) == site.metric('imgtag_config_reloads_total{result="refused"}')
    assert 1 == len(events(site, "ready"))
    wait_until(lambda: site.metric('imgtag_objects_total{result="labelled"}') == 1)


def test_signals_in_quick_succession_end_well(site, photographs):
    """However often it is asked, and with pictures on their way; a stop ends it."""
    site.start()
    for number in range(20):
        (site.root / f"{number}.jpg").write_bytes(photographs["cat"])
        if number % 4 == 0:
            hang_up(site)
    wait_until(lambda: len(events(site, "ready")) >= 2)
    wait_until(lambda: len(keys(site)) == 20)

    hang_up(site)
    assert 0 == site.stop()
    assert len(site.marked()) == 20
