"""Models as an admin handles them: added, tried, chosen while the sidecar runs, refused, calibrated, compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from acceptance_support import wait_until
from servers.files import FileServer
from unit.tflite import tiny

pytestmark = pytest.mark.timeout(300)

COLOURS = {"red": (250, 10, 10), "green": (10, 250, 10), "blue": (10, 10, 250)}


def jpeg(colour: str, shade: int = 0) -> bytes:
    """A picture of one colour; ``shade`` makes another one of it."""
    buffer = BytesIO()
    red, green, blue = (min(255, value + shade % 20) for value in COLOURS[colour])
    Image.new("RGB", (40, 40), (red, green, blue)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def tinted(tmp_path: Path) -> Path:
    """A model that names colours, with the labels beside it."""
    path = tmp_path / "tinted.tflite"
    path.write_bytes(tiny.model(embedding=64))
    path.with_suffix(".txt").write_text(tiny.LABELS)
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another such model, which calls them otherwise."""
    path = tmp_path / "other.tflite"
    path.write_bytes(tiny.model(classes=4))
    path.with_suffix(".txt").write_text("ruby\nemerald\nsapphire\nonyx\n")
    return path


def labels_of(site, key: str) -> list[str]:
    return [
        label for document in site.found("bucket:pictures") if document["key"] == key for label in document["labels"]
    ]


def events(site, event: str) -> list[dict]:
    return [line for line in site.lines() if line["event"].startswith(event)]


def test_a_model_is_added_shown_tried_and_removed(site, tinted, other):
    """What the commands say is what is there."""
    site.ask("models", "add", str(tinted), "--licence", "MIT")
    site.ask("models", "add", str(other), "--name", "gems")
    (site.base / "red.jpg").write_bytes(jpeg("red"))

    rows = {row["name"]: row for row in map(json.loads, site.run("models", "list", "--json").splitlines())}
    assert {"bundled", "tinted", "gems"} == set(rows)
    assert ("MIT", tinted.stat().st_size, ["default"]) == (
        rows["tinted"]["licence"],
        rows["tinted"]["bytes"],
        rows["bundled"]["used"],
    )
    shown = json.loads(site.ask("models", "show", "gems", "--json"))
    assert ["ruby", "emerald", "sapphire", "onyx"] == shown["labels"]

    tried = site.ask("models", "try", "--json", "--model", "tinted", "--model", "gems", str(site.base / "red.jpg"))
    assert ["red", "ruby"] == [json.loads(line)["labels"][0]["label"] for line in tried.splitlines()]
    assert 3 == site.ask("models", "verify").count("ok ")

    site.ask("models", "remove", "gems", "--yes")
    assert "gems" not in site.ask("models", "list")
    site.ask("models", "use", "tinted")
    assert "tinted is in use: default" in site.ask_wrongly("models", "remove", "tinted", "--yes", code=1)


def test_what_is_no_classifier_is_refused_and_nothing_is_added(site, tmp_path):
    """A detector, an embedding, a damaged file, other labels: each with its reason."""
    cases = {
        "detector": (tiny.detector(), tiny.LABELS, "not an image classifier"),
        "features": (tiny.features(), tiny.LABELS, "not an image classifier"),
        "custom": (tiny.custom(), tiny.LABELS, "needs custom operations"),
        "short": (tiny.model()[:200], tiny.LABELS, "damaged or cut short"),
        "picture": (jpeg("red"), tiny.LABELS, "not a TensorFlow Lite model"),
        "unnamed": (tiny.model(), None, "it has no labels"),
        "misnamed": (tiny.model(), "red\ngreen\n", "labels up to line 2, but the model has 3 classes"),
    }
    for name, (content, labels, reason) in cases.items():
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        if labels:
            path.with_suffix(".txt").write_text(labels)

        output = site.ask_wrongly("models", "add", str(path), code=1)

        assert "nothing was added" in output
        assert reason in output, output
        assert "imgtag-model-" not in output
    assert "detector" not in site.ask("models", "list")


def test_a_download_is_pinned_resumed_and_refused(site, tinted):
    """From a server that cuts it once; by name from a catalogue of one's own."""
    content = tinted.read_bytes() + bytes(600_000)  # so long that it can be cut
    digest, labels = sha256(content).hexdigest(), tiny.LABELS.encode()
    with FileServer({"/tinted.tflite": content, "/l.txt": labels}, cut=300_000).run() as server:
        url = f"{server.url}/tinted.tflite"
        assert "needs --sha256" in site.ask_wrongly("models", "add", url, code=2)
        assert "to resume" in site.ask_wrongly("models", "add", url, "--sha256", digest, code=1)
        site.ask("models", "add", url, "--sha256", digest, "--labels", str(tinted.with_suffix(".txt")))
        assert "bytes=262144-" in [asked for _, asked in server.asked]
        assert "expected" in site.ask_wrongly("models", "add", url, "--sha256", "0" * 64, "--name", "b", code=1)

        own = site.base / "own.toml"
        own.write_text(
            f'[models.ours]\nsummary = "Colours."\nurl = "{url}"\nsha256 = "{digest}"\nbytes = {len(content)}\n'
            f'licence = "MIT"\nlabels_url = "{server.url}/l.txt"\nlabels_sha256 = "{sha256(labels).hexdigest()}"\n'
        )
        site.configure(f'[models]\ncatalogue = "{own}"')
        assert site.ask("models", "add", "ours").startswith("ours@")
    assert ["ours", "tinted"] == sorted(
        row["name"]
        for row in map(json.loads, site.ask("models", "list", "--json").splitlines())
        if row["sha256"] == digest
    )


def test_a_model_comes_from_the_store_with_what_lies_beside_it(site, tinted):
    """BUCKET/KEY, its manifest and its labels."""
    (site.root / "models").mkdir()
    (site.root / "models" / "tinted.tflite").write_bytes(tinted.read_bytes())
    (site.root / "models" / "colours.txt").write_text(tiny.LABELS)
    (site.root / "models" / "tinted.toml").write_text('labels = "colours.txt"\nlicence = "MIT"\ntemperature = 2.0\n')

    output = site.ask("models", "add", "pictures/models/tinted.tflite", "--name", "colours")

    assert output.startswith("colours@")
    assert "~2: 3 classes, MIT" in output


def test_a_new_model_is_taken_under_load_and_a_broken_one_refused(site, tinted, other):
    """Without a restart and without one failed picture; the old labels stay what they are."""
    site.ask("models", "add", str(tinted))
    site.ask("models", "add", str(other), "--name", "gems")
    site.ask("models", "use", "tinted")
    site.start()

    def drop(part: int) -> None:
        for number in range(60):
            colour = list(COLOURS)[number % 3]
            (site.root / f"{part}-{number}-{colour}.jpg").write_bytes(jpeg(colour, part * 60 + number))

    drop(1)
    site.ask("models", "use", "gems")
    drop(2)
    wait_until(lambda: events(site, "model_loaded"))
    drop(3)
    wait_until(lambda: len(site.found()) == 180)

    assert [] == site.found("status:failed OR status:refused")
    by_model = {"tinted": set(COLOURS), "gems": {"ruby", "emerald", "sapphire"}}
    for document in site.found():
        assert set(document["labels"]) <= by_model[document["model"].partition("@")[0]]
    third = [document for document in site.found() if document["key"].startswith("3-")]
    assert {"gems"} == {document["model"].partition("@")[0] for document in third}
    assert 1 == site.metric('imgtag_model_changes_total{result="taken"}')

    (site.base / "state/models/gems.toml").write_text('file = "gone.tflite"\n')
    wait_until(lambda: events(site, "model_refused"))
    (refused,) = events(site, "model_refused")
    assert "gone.tflite: No such file" in refused["reason"]
    for worker in site.workers():
        worker.kill()  # those that replace them must find the old model still
    (site.root / "last.jpg").write_bytes(jpeg("blue"))
    wait_until(lambda: labels_of(site, "last.jpg") == ["sapphire"])
    assert 0 == site.stop()


def test_a_model_file_put_there_by_hand_is_taken(site, tinted, other):
    """The file that is in use is overwritten in its place, with its labels."""
    models = site.base / "state/models"
    models.mkdir(parents=True)
    for source in (tinted, tinted.with_suffix(".txt")):
        (models / f"mine{source.suffix}").write_bytes(source.read_bytes())
    site.configure('[classifier.tflite]\nmodel = "mine"')
    site.start()
    (site.root / "one.jpg").write_bytes(jpeg("red"))
    wait_until(lambda: labels_of(site, "one.jpg") == ["red"])

    for source in (other, other.with_suffix(".txt")):
        (models / f"mine{source.suffix}").write_bytes(source.read_bytes())
    wait_until(lambda: events(site, "model_loaded"))
    (site.root / "two.jpg").write_bytes(jpeg("red", 3))

    wait_until(lambda: labels_of(site, "two.jpg") == ["ruby"])
    assert ["red"] == labels_of(site, "one.jpg")


def test_two_models_by_rule_and_one_in_the_shadow(site, tinted, other):
    """Each part by its own; the shadow is only counted."""
    site.ask("models", "add", str(tinted))
    site.ask("models", "add", str(other), "--name", "gems")
    site.configure(
        '[models]\nmax_models = 1\n[[rules]]\nbucket = "pictures"\ninclude = ["gems/**"]\nmodel = "gems"\n'
        '[[rules]]\nbucket = "pictures"\nmodel = "tinted"\nshadow = "gems"\n'
    )
    (site.root / "gems").mkdir()
    site.start()
    for number in range(6):
        (site.root / f"{number}.jpg").write_bytes(jpeg("green", number))
        (site.root / "gems" / f"{number}.jpg").write_bytes(jpeg("green", number))
    wait_until(lambda: len(site.found()) == 12)

    assert {"emerald"} == {label for number in range(6) for label in labels_of(site, f"gems/{number}.jpg")}
    assert {"green"} == {label for number in range(6) for label in labels_of(site, f"{number}.jpg")}
    (line,) = [line for line in site.get("/metrics").splitlines() if line.startswith("imgtag_shadow_pictures_total{")]
    assert line.startswith('imgtag_shadow_pictures_total{model="gems@')
    assert line.endswith('result="other"} 6.0')


def test_a_rule_that_names_no_model_is_told_before_anything_begins(site):
    """Exit 78, with the line."""
    site.configure('[[rules]]\nbucket = "pictures"\nmodel = "birds"')

    assert "rules[0].model: there is no model 'birds'" in site.fails("run", code=78)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Path]:
    """Sixty pictures of each colour in folders of its name, some of them in the wrong one."""
    folder = tmp_path / "shelf"
    for place, colour in enumerate(COLOURS):
        (folder / colour.upper()).mkdir(parents=True)
        for number in range(60):
            shown = list(COLOURS)[(place + 1) % 3] if number < 6 else colour
            (folder / colour.upper() / f"{number}.jpg").write_bytes(jpeg(shown, number))
    return folder


def test_a_model_is_calibrated_on_ones_own_pictures(site, tmp_path, shelf):
    """The temperature goes into its manifest, and the model has another name by it."""
    path = tmp_path / "five.tflite"
    path.write_bytes(tiny.model(classes=5))
    path.with_suffix(".txt").write_text(f"{tiny.LABELS}grey\nblack\n")
    site.ask("models", "add", str(path))
    assert "of 3 labels are too few" in site.ask_wrongly("models", "calibrate", str(shelf), "--model", "five", code=1)
    for colour, like in (("grey", "red"), ("black", "green")):
        (shelf / colour).mkdir()
        for number in range(5):
            (shelf / colour / f"{number}.jpg").write_bytes(jpeg(like, number))
    (shelf / "nothing like it").mkdir()

    output = json.loads(site.ask("models", "calibrate", str(shelf), "--model", "five", "--write", "--yes", "--json"))

    assert (190, 5) == (output["pictures"], output["labels"])
    assert output["after"]["error"] < output["before"]["error"]
    assert 1.0 < output["temperature"]
    shown = json.loads(site.ask("models", "show", "five", "--json"))
    assert output["temperature"] == shown["temperature"]
    assert shown["model"].endswith(f"~{output['temperature']:.4g}")


def test_two_models_are_compared_before_one_is_changed(site, tinted, other, shelf):
    """On a folder, and on what a query finds in the store; nothing is written."""
    site.ask("models", "add", str(tinted))
    site.ask("models", "add", str(other), "--name", "gems")

    lines = site.ask("models", "compare", "tinted", "gems", str(shelf), "--json", "--limit", "50").splitlines()

    done = json.loads(lines[-1])
    assert (50, 0, 0) == (done["pictures"], done["same"], done["failed"])
    assert (50, 50) == (done["lost"], done["gained"])
    assert 51 == len(lines)
    assert "have the same best label (100%)" in site.ask("models", "compare", "tinted", "tinted", str(shelf))

    site.ask("models", "use", "tinted")
    site.start()
    (site.root / "one.jpg").write_bytes(jpeg("red"))
    wait_until(lambda: labels_of(site, "one.jpg") == ["red"])
    (hit,) = [
        json.loads(line)
        for line in site.ask("models", "compare", "tinted", "gems", "red", "--json").splitlines()
        if "ref" in line
    ]
    assert ("pictures/one.jpg", ["red"], ["ruby"]) == (hit["ref"], hit["lost"], hit["gained"])
    assert ["red"] == labels_of(site, "one.jpg")
