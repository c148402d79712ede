"""The folder of models: taken whole or not at all, listed with what is wrong, and pinned for who uses them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from imgtag.errors import ConfigError, ModelError, Unavailable
from imgtag.models.catalogue import load_catalogue
from imgtag.models.manifest import InputManifest, Manifest, OutputManifest, find_model_files, read_manifest
from imgtag.models.repository import ModelRepository, render_manifest, require_name
from imgtag.models.snapshots import ModelSnapshots


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models", ".tflite")


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    path = tmp_path / "incoming.bin"
    path.write_bytes(b"a model")
    return path


def names(repository: ModelRepository) -> list[str]:
    return [listed.name for listed in repository.list()]


def test_what_is_added_is_listed_with_its_digest(repository: ModelRepository, incoming: Path) -> None:
    """One manifest, which names files by their content."""
    path = repository.add("birds", incoming, Manifest(licence="MIT"), b"robin\nwren\n")

    (listed,) = repository.list()
    assert listed.files is not None
    assert ("birds", path, b"a model", b"robin\nwren\n") == (
        listed.name,
        repository.find("birds"),
        listed.files.model.read_bytes(),
        listed.files.labels.read_bytes() if listed.files.labels else None,
    )
    assert ("MIT", sha256(b"a model").hexdigest()) == (listed.files.manifest.licence, listed.files.manifest.sha256)
    assert 3 == len(list(repository.folder.iterdir()))


def test_a_newer_model_takes_the_place_of_the_old_one(repository: ModelRepository, incoming: Path) -> None:
    """Old files go after the manifest names the new ones."""
    repository.add("birds", incoming, Manifest(), b"robin\n")
    incoming.write_bytes(b"a better model")

    repository.add("birds", incoming, Manifest())

    (listed,) = repository.list()
    assert listed.files is not None
    assert (b"a better model", None) == (listed.files.model.read_bytes(), listed.files.labels)
    assert 2 == len(list(repository.folder.iterdir()))


def test_a_file_put_there_by_hand_is_a_model(repository: ModelRepository) -> None:
    """Without a manifest; a .txt beside it has the labels."""
    repository.folder.mkdir()
    (repository.folder / "fish.tflite").write_bytes(b"x")
    (repository.folder / "fish.txt").write_text("cod\n")

    (listed,) = repository.list()

    assert listed.files is not None
    assert ("fish", repository.folder / "fish.txt") == (listed.name, listed.files.labels)
    assert repository.folder / "fish.tflite" == repository.find("fish")


def test_a_manifest_that_cannot_be_used_is_listed_with_the_reason(repository: ModelRepository, incoming: Path) -> None:
    """The others are there all the same."""
    repository.add("birds", incoming, Manifest())
    (repository.folder / "worse.toml").write_text("licences = 1\n")

    birds, worse = repository.list()

    assert birds.error is None
    assert worse.error is not None
    assert "worse.toml: licences: unknown key" in worse.error.message


def test_removing_takes_every_file(repository: ModelRepository, incoming: Path) -> None:
    """The chosen name and other models stay."""
    repository.add("birds", incoming, Manifest(), b"robin\n")
    repository.add("fish", incoming, Manifest())

    removed = repository.remove("birds")

    assert [".toml", ".tflite", ".txt"] == sorted(
        (path.suffix for path in removed), key=[".toml", ".tflite", ".txt"].index
    )
    assert ".toml" == removed[0].suffix
    assert ["fish"] == names(repository)


def test_what_is_chosen_stays_chosen(repository: ModelRepository) -> None:
    """Until another one is, or what comes with the classifier."""
    assert repository.default() is None
    repository.set_default("birds")
    assert "birds" == repository.default()
    repository.set_default(None)
    assert repository.default() is None


@pytest.mark.parametrize("name", ["../birds", "a/b", "", "Birds", ".hidden", "a" * 65])
def test_names_lead_nowhere_else(repository: ModelRepository, name: str) -> None:
    """A name is not a path."""
    assert repository.find(name) is None
    with pytest.raises(ModelError, match="is not a valid model name"):
        require_name(name)


def test_a_folder_that_may_not_be_written_is_said(tmp_path: Path, incoming: Path) -> None:
    """With the place and the setting."""
    (tmp_path / "models").write_text("a file, where the folder should be")

    with pytest.raises(Unavailable) as caught:
        ModelRepository(tmp_path / "models", ".tflite").add("birds", incoming, Manifest())

    assert "`dir` under [models]" in caught.value.hint


def test_a_manifest_survives_being_written(repository: ModelRepository, incoming: Path) -> None:
    """Every key."""
    manifest = Manifest(
        summary='with "quotes"',
        licence="MIT",
        source="b/k",
        temperature=1.5,
        input=InputManifest(mean=(1.0, 2.0, 3.0), std=127.5, crop=1.0),
        output=OutputManifest(probabilities="Identity", embedding="features"),
    )

    path = repository.add("birds", incoming, manifest, b"x\n")

    restored = read_manifest(path)
    assert manifest.model_copy(update={key: getattr(restored, key) for key in ("file", "sha256", "labels")}) == restored


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temperature = 0", "temperature"),
        ("temperature = inf", "temperature"),
        ('file = "../x.tflite"', "file"),
        ('labels = "/etc/passwd"', "labels"),
        ('sha256 = "abc"', "sha256"),
        ("[input]\nstd = 0", "input.std"),
        ("[input]\ncrop = 2", "input.crop"),
        ("[output]\nscores = 1", "output.scores: unknown key"),
        ("no toml", "is not valid TOML"),
        ("temperature = " + "9" * 5_000, "is not valid TOML"),
        ("input = " + "[" * 5_000, "is not valid TOML"),
    ],
)
def test_a_wrong_manifest_is_refused_by_its_key(tmp_path: Path, text: str, message: str) -> None:
    """It names file and key, and reaches no file outside of its folder."""
    path = tmp_path / "m.toml"
    path.write_text(text)

    with pytest.raises(ModelError, match=message) as caught:
        read_manifest(path)

    assert str(path) in caught.value.message


def test_a_manifest_beside_a_model_is_its_own_only(tmp_path: Path) -> None:
    """A .toml of the same name that names another file says nothing of this one."""
    (tmp_path / "a.tflite").write_bytes(b"x")
    (tmp_path / "a.toml").write_text('file = "b.tflite"\n')

    assert find_model_files(tmp_path / "a.tflite", ".tflite").manifest_file is None


# Snapshots


def test_a_snapshot_stays_what_it_was(tmp_path: Path, repository: ModelRepository, incoming: Path) -> None:
    """The same path for the same content, another for another; the old one is there as long as somebody needs it."""
    path, snapshots = (
        repository.add("birds", incoming, Manifest(), b"robin\n"),
        ModelSnapshots(tmp_path / "used", ".tflite"),
    )
    first = snapshots.take(path)
    assert first == snapshots.take(path)
    incoming.write_bytes(b"another model")
    repository.add("birds", incoming, Manifest(), b"wren\n")

    second = snapshots.take(path)

    assert first != second
    assert b"a model" == find_model_files(first, ".tflite").model.read_bytes()
    assert b"another model" == find_model_files(second, ".tflite").model.read_bytes()
    assert "birds" == find_model_files(second, ".tflite").name
    snapshots.remove_all_but([second])
    assert [second.parent] == list((tmp_path / "used").iterdir())


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    """And leaves nothing behind."""
    snapshots = ModelSnapshots(tmp_path / "used", ".tflite")

    with pytest.raises(ModelError, match=r"cannot read the model .*none\.tflite: No such file"):
        snapshots.take(tmp_path / "none.tflite")

    assert [] == list((tmp_path / "used").iterdir())


# The catalogue


def test_the_shipped_catalogue_is_whole() -> None:
    """Each model has a pinned file under a name that it may have, with its labels."""
    catalogue = load_catalogue("imgtag_tflite:catalogue.toml", None)

    assert {"birds", "mobilenet-v2"} <= catalogue.keys()
    for name, entry in catalogue.items():
        assert name == require_name(name)
        assert entry.licence
        assert entry.bytes > 100_000
        assert (entry.labels_url is None) == (entry.labels_sha256 is None)


def test_ones_own_catalogue_goes_before(tmp_path: Path) -> None:
    """And is refused by its key where it is wrong."""
    own = tmp_path / "own.toml"
    toml = f'[models.birds]\nsummary = "ours"\nurl = "http://h/b"\nsha256 = "{"0" * 64}"\nbytes = 5\nlicence = "MIT"\n'
    own.write_text(toml)

    assert "ours" == load_catalogue("imgtag_tflite:catalogue.toml", own)["birds"].summary

    own.write_text(toml.replace("http:", "file:"))
    with pytest.raises(ConfigError, match=r"own\.toml: models\.birds\.url"):
        load_catalogue(None, own)

    own.write_text(toml.replace("bytes = 5", "bytes = " + "5" * 5_000))
    with pytest.raises(ConfigError, match=r"own\.toml is not valid TOML"):
        load_catalogue(None, own)


def test_an_empty_manifest_says_nothing() -> None:
    """Defaults are not written."""
    assert "\n" == render_manifest(Manifest())
