"""Label rules: how they are written, which are shipped, and which name nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from imgtag.config.configuration import Config
from imgtag.config.label_rules import find_unknown_names, shipped_rules
from imgtag.config.policy import PolicyResolver
from imgtag.config.render import render_config
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.types.labels import Label, Raw
from imgtag_tflite.model import load_model
from imgtag_tflite.settings import TFLiteSettings

Load = Callable[..., Config]

HEAD = '[[rules]]\nbucket = "b"\n[labels]\ndefaults = false\n'


@pytest.fixture(scope="module")
def model():
    """What the bundled model is."""
    return load_model(TFLiteSettings()).info


def policy(config: Config) -> LabelPolicy:
    return PolicyResolver(config).general.labels


def test_a_rule_is_for_one_label_or_several(load_text: Load) -> None:
    """Names in any case are the model's in lower case; what is said reaches the policy in their order."""
    text = HEAD + (
        '[[label_rules]]\nlabel = "Red  Fox"\nrename = "Reynard"\n'
        '[[label_rules]]\nlabel = ["tabby", "*cat"]\nmerge = "Cat"\nthreshold = 0.3\ncategory = "Pet"\npriority = 5\n'
    )

    assert (
        LabelRule(labels=("red fox",), rename="Reynard"),
        LabelRule(labels=("tabby", "*cat"), merge="Cat", threshold=0.3, category="pet", priority=5),
    ) == policy(load_text(text)).rules


def test_the_environment_has_them_as_json(load_text: Load) -> None:
    """As any list of tables."""
    config = load_text(HEAD, IMGTAG_LABEL_RULES='[{"label": "fox", "drop": true}]')

    assert (LabelRule(labels=("fox",), drop=True),) == policy(config).rules
    assert '[[label_rules]]\nlabel = ["fox"]' in render_config(config)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('label = "fox"', "label_rules[0]: does nothing: give rename, merge, drop, threshold, category or priority"),
        ('label = "fox"\nrename = "a"\nmerge = "b"', "label_rules[0]: has both rename and merge"),
        ("label = []\ndrop = true", "label_rules[0].label: "),
        ('label = "fox"\nrename = " "', "label_rules[0].rename: "),
        ('label = "fox"\nthreshold = 2', "label_rules[0].threshold: "),
        ('label = "fox"\ndorp = true', "label_rules[0].dorp: unknown setting; did you mean `drop`?"),
    ],
)
def test_rules_that_cannot_stand(findings: Callable[..., list[str]], rule: str, message: str) -> None:
    """At their place, with what to write."""
    (finding,) = findings(f"[[label_rules]]\n{rule}\n")

    assert message in finding


def test_a_part_of_the_store_has_its_own_lists(load_text: Load) -> None:
    """What [labels] allows holds where the rule says nothing else."""
    text = '[labels]\nallow = ["animal"]\n[[rules]]\nbucket = "b"\nlabels = { deny = ["Dog"], defaults = false }\n'
    (policy,) = PolicyResolver(load_text(text)).all()

    assert (("animal",), ("dog",), ()) == (
        policy.labels.allow,
        policy.labels.deny,
        policy.labels.rules,
    )


def test_unknown_names_are_told_with_the_nearest(load_text: Load, model) -> None:
    """A warning, since another model may know them; globs and ancestors are names too."""
    text = HEAD + (
        'deny = ["weapn"]\n[[label_rules]]\nlabel = ["*fox", "animal", "Red Fox", "red fux", "*fux"]\ndrop = true\n'
    )
    messages = [f"{finding.key}: {finding.message}" for finding in find_unknown_names(load_text(text), model.names())]

    assert [
        "label_rules[0].label: no label or ancestor of the model matches 'red fux'; did you mean `red fox`?",
        "label_rules[0].label: no label or ancestor of the model matches '*fux'",
        "labels.deny: no label or ancestor of the model matches 'weapn'; did you mean `weapon`?",
    ] == [line if "*" not in line else line.partition(";")[0] for line in messages]


def test_the_shipped_rules_are_of_labels_that_there_are(model) -> None:
    """All but `maillot`, by which other models call both; each rule only drops or raises a threshold."""
    assert {"maillot"} == {name for rule in shipped_rules() for name in rule.label} - model.names()
    assert all(rule.drop or (rule.threshold or 0) > 0.5 for rule in shipped_rules())


def test_what_embarrasses_is_not_said(load_text: Load, model) -> None:
    """Also where the model is sure; what is above it may be. It is switched off as a whole, or for one label."""
    raw = Raw(((model.labels.index("bikini"), 0.9),))
    keep = '[[rules]]\nbucket = "b"\n[[label_rules]]\nlabel = "bikini"\ndrop = false\n'

    shipped_rules = model.vocabulary(policy(load_text('[[rules]]\nbucket = "b"\n')))
    assert (Label("clothing", 0.9),) == shipped_rules.labels_to_write(raw)
    assert (Label("bikini", 0.9),) == model.vocabulary(policy(load_text(HEAD))).select_labels(raw)
    assert (Label("bikini", 0.9),) == model.vocabulary(policy(load_text(keep))).select_labels(raw)
