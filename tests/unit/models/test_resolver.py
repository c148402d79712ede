"""Which model a name of the configuration means."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgtag.config.configuration import Config
from imgtag.config.findings import InvalidConfig
from imgtag.config.load import load
from imgtag.errors import ConfigError, ModelError
from imgtag.models.manifest import Manifest
from imgtag.models.resolver import ModelResolver, UnknownModel


def configured(folder: Path, text: str = "") -> Config:
    (folder / "root").mkdir(exist_ok=True)
    file = folder / "imgtag.toml"
    file.write_text(f'[store.directory]\nroot = "{folder / "root"}"\n[state]\ndir = "{folder / "state"}"\n{text}')
    return load(file, env={})


def with_birds(folder: Path, text: str = "") -> ModelResolver:
    resolver = ModelResolver(configured(folder, text))
    (folder / "m.bin").write_bytes(b"birds")
    resolver.repository.add("birds", folder / "m.bin", Manifest())
    return resolver


def test_without_a_word_it_is_the_bundled_one(tmp_path: Path) -> None:
    """Under the name that the classifier has for it."""
    resolver = ModelResolver(configured(tmp_path))

    assert "bundled" == resolver.resolve().settings["model"]
    assert {"": resolver.resolve()} == resolver.resolve_all()


def test_the_chosen_one_goes_before_the_default(tmp_path: Path) -> None:
    """Until the choice is taken back."""
    resolver = with_birds(tmp_path)
    resolver.repository.set_default("birds")
    assert str(tmp_path / "state/models/birds.toml") == resolver.resolve().settings["model"]

    resolver.repository.set_default(None)
    assert "bundled" == resolver.resolve().settings["model"]


def test_the_configuration_goes_before_the_choice(tmp_path: Path) -> None:
    """What an admin wrote down holds."""
    resolver = with_birds(tmp_path, '[classifier.tflite]\nmodel = "bundled"\n')
    resolver.repository.set_default("birds")

    assert resolver.is_default_configured
    assert "bundled" == resolver.resolve().settings["model"]


def test_the_other_settings_are_those_of_every_model(tmp_path: Path) -> None:
    """Threads, say: what concerns one model alone stands in its manifest."""
    resolver = with_birds(tmp_path, "[classifier.tflite]\nthreads = 2\n")

    assert [2, 2] == [resolver.resolve(name).settings["threads"] for name in ("", "birds")]


def test_every_model_of_the_rules_is_resolved_once_from_a_copy(tmp_path: Path) -> None:
    """Default, rules and shadows; what stands in the folder may change."""
    rules = '[[rules]]\nbucket = "root"\ninclude = ["a/**"]\nmodel = "birds"\n'
    rules += '[[rules]]\nbucket = "root"\nshadow = "birds"\n'
    resolver = with_birds(tmp_path, rules)

    specs = resolver.resolve_all()

    assert ["", "birds"] == list(specs)
    copy = Path(specs["birds"].settings["model"])
    assert tmp_path / "state/models.used" == copy.parent.parent
    assert [Path("bundled"), copy] == resolver.files_of(specs)


def test_a_name_that_stands_for_nothing_is_a_finding(tmp_path: Path) -> None:
    """At the line of the rule, with the nearest one."""
    resolver = with_birds(tmp_path, '[[rules]]\nbucket = "root"\nmodel = "bird"\n')

    with pytest.raises(InvalidConfig) as caught:
        resolver.resolve_all()

    (finding,) = caught.value.findings
    assert ("rules[0].model", 7) == (finding.key, finding.line)
    assert "did you mean `birds`?" in finding.message


@pytest.mark.parametrize(("name", "error"), [("nothing", UnknownModel), ("/no/where.tflite", ModelError)])
def test_a_model_that_is_not_there_is_said(tmp_path: Path, name: str, error: type[Exception]) -> None:
    """By its name or by its path."""
    with pytest.raises(error):
        ModelResolver(configured(tmp_path)).resolve(name, snapshot=True)


def test_every_installed_model_is_known(tmp_path: Path) -> None:
    """Also where nothing uses it; one with a broken manifest is not."""
    resolver = with_birds(tmp_path)
    (resolver.repository.folder / "worse.toml").write_text("nonsense")

    assert ["bundled", str(resolver.repository.folder / "birds.toml")] == [
        o.settings["model"] for o in resolver.resolve_installed()
    ]


def test_a_classifier_without_files_has_no_models_by_name(tmp_path: Path) -> None:
    """It works as ever, and a rule that names a model is a finding."""
    plugins = tmp_path / "plugins"
    plugins.mkdir(mode=0o755)
    (plugins / "colours.py").write_text("from imgtag.testing.classifier import SPEC\n")
    (plugins / "colours.py").chmod(0o644)
    text = f'[plugins]\ndir = "{plugins}"\n[classifier.colour]\n'
    resolver = ModelResolver(configured(tmp_path, text))

    assert [""] == list(resolver.resolve_all())
    assert [] == resolver.resolve_installed()
    with pytest.raises(ConfigError, match="has no model files"):
        resolver.repository  # noqa: B018
    with pytest.raises(InvalidConfig, match="has only one model, so a rule cannot name one"):
        configured(tmp_path, f'{text}[[rules]]\nbucket = "root"\nmodel = "birds"\n')
