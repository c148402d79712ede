"""From TOML, environment and files to one valid configuration, or to all that is wrong with it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imgtag.config.configuration import Config
from imgtag.config.findings import InvalidConfig
from imgtag.config.load import discover_plugins, load, state_dir
from imgtag.config.render import render_config
from imgtag.config.schema import StateSettings
from imgtag.registry import Registry

Load = Callable[..., Config]
Findings = Callable[..., list[str]]

S3 = '[store.s3]\nendpoint = "http://h"\n'


def test_nothing_at_all_is_valid(registry: Registry) -> None:
    """Without a file and without variables there are defaults, and the one classifier that needs no settings."""
    config = load(env={}, registry=registry, paths=())

    assert ("local", 5, 0.10) == (config.site.name, config.labels.top_k, config.labels.threshold)
    assert (None, None, None) == (config.store, config.source, config.indexer)
    assert "tflite" == config.require("classifier").name


def test_folder_brings_its_source_and_index(load_text: Load, tmp_path: Path) -> None:
    """The directory store alone is a whole configuration."""
    config = load_text(f'[store.directory]\nroot = "{tmp_path}"')

    assert ("directory", "directory", "tflite", "sqlite") == tuple(
        config.require(kind).name for kind in ("store", "source", "classifier", "indexer")
    )
    assert config.require("store").settings == config.context().store


def test_other_stores_bring_nothing(load_text: Load) -> None:
    """What cannot be guessed stays absent, and the command that needs it names the possible tables."""
    config = load_text(S3)

    assert config.indexer is None
    with pytest.raises(InvalidConfig, match=r"no indexer is configured: write \[indexer.sqlite\] or \[indexer.meili"):
        config.require("indexer")


def test_values_are_typed(load_text: Load) -> None:
    """Sizes have units, lists are tuples, and nothing can be changed afterwards."""
    config = load_text('[pipeline]\nmax_bytes = "1.5 MiB"\nworker_memory = "2GB"\n[document]\nmetadata = ["license"]')

    assert (1_572_864, 2_000_000_000) == (config.pipeline.max_bytes, config.pipeline.worker_memory)
    assert ("license",) == config.document.metadata
    with pytest.raises(ValueError, match="frozen"):
        config.site.name = "other"  # type: ignore[misc]


def test_environment_lies_over_the_file(load_text: Load) -> None:
    """A variable wins over the file, and all else of the file stays."""
    config = load_text(
        S3 + 'access_key = "a"\n[labels]\ntop_k = 3',
        IMGTAG_STORE__S3__ENDPOINT="http://other",
        IMGTAG_STORE__S3__TLS__VERIFY="false",
        IMGTAG_STORE__S3__PORTS="[1, 2]",
        IMGTAG_LABELS__THRESHOLD="0.3",
        IMGTAG_OPS__LISTEN="",
        OTHER="x",
    )
    settings: Any = config.require("store").settings

    assert ("http://other", "a", False, (1, 2)) == (
        settings.endpoint,
        settings.access_key,
        settings.tls.verify,
        settings.ports,
    )
    assert (3, 0.3, "") == (config.labels.top_k, config.labels.threshold, config.ops.listen)


def test_environment_alone_can_say_everything(registry: Registry) -> None:
    """Rules and whole tables are written as JSON."""
    env = {
        "IMGTAG_STORE__S3": '{"endpoint": "http://h"}',
        "IMGTAG_RULES": '[{"bucket": "b", "labels": {"top_k": 2}}]',
        "IMGTAG_INDEXER__SQLITE": "{}",
    }

    config = load(env=env, registry=registry, paths=())

    assert ("b", 2) == (config.rules[0].bucket, config.rules[0].labels.top_k)
    assert ("s3", "sqlite") == (config.require("store").name, config.require("indexer").name)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("IMGTAG_STORE__S3__ENDPONT", "x", "unknown setting; did you mean `IMGTAG_STORE__S3__ENDPOINT`?"),
        ("IMGTAG_SITE__NAME__X", "x", "unknown setting; did you mean `IMGTAG_SITE__NAME`?"),
        ("IMGTAG_RULES__0__BUCKET", "x", "unknown setting"),
        ("IMGTAG_", "x", "unknown setting"),
        ("IMGTAG_PORT", "tcp://10.0.0.1:80", "unknown setting"),
        ("IMGTAG_RULES", "[{", "is not valid JSON"),
        ("IMGTAG_STATE__DIR", "", "is empty: give it a value, or unset the variable"),
        ("IMGTAG_STORE__S3__ACCESS_KEY", "", "is empty"),
        ("IMGTAG_STORE__S3__SECRET_KEY", "", "is empty"),
        ("IMGTAG_LABELS__TOP_K", "", "is empty"),
        ("IMGTAG_RULES", "", "is empty"),
        ("IMGTAG_RULES", "b", "is a list or a table: write it as JSON"),
        ("IMGTAG_LABELS", "5", "is a list or a table: write it as JSON"),
    ],
)
def test_unknown_variable_is_a_finding(findings: Findings, name: str, value: str, message: str) -> None:
    """No variable of ours is silently without effect."""
    (finding,) = findings("", **{name: value})

    assert finding.startswith(f"environment: {name}: {message}")


def test_a_setting_that_moved_says_where(findings: Findings) -> None:
    """In the file and in the environment; it is suggested for no typing error."""
    moved = "classifier.tflite.crop: moved to the model's manifest"

    assert [f"imgtag.toml:2: {moved}"] == findings("[classifier.tflite]\ncrop = 1")
    assert [f"environment: {moved}"] == findings("", IMGTAG_CLASSIFIER__TFLITE__CROP="1")
    assert ["imgtag.toml:2: classifier.tflite.crp: unknown setting"] == findings("[classifier.tflite]\ncrp = 1")


@pytest.mark.parametrize("name", ["labels", "mean", "std", "crop", "temperature"])
def test_what_concerns_one_model_moved_to_its_manifest(tmp_path: Path, name: str) -> None:
    """Each of the five settings that [classifier.tflite] had is told by its own name there."""
    path = tmp_path / "imgtag.toml"
    path.write_text(f"[classifier.tflite]\n{name} = 1\n")

    with pytest.raises(InvalidConfig, match=f"moved to the model's manifest: set `(input\\.)?{name}` in the .toml"):
        load(path, env={})


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's user has no passwd entry: the state folder by the other rules, else a finding that names them."""
    nobody = 4_000_000_000
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: nobody)
    assert Path("/x/imgtag") == state_dir(StateSettings(), {"XDG_STATE_HOME": "/x"}, user=nobody)

    with pytest.raises(InvalidConfig, match=r"state\.dir: this user has no home folder: set `dir` under \[state\]"):
        state_dir(StateSettings(), {}, user=nobody)


def test_a_byte_order_mark_is_no_setting(tmp_path: Path, registry: Registry) -> None:
    """Windows editors begin a file with one."""
    path = tmp_path / "imgtag.toml"
    path.write_bytes(b'\xef\xbb\xbf[site]\r\nname = "attic"\r\n')

    assert "attic" == load(path, env={}, registry=registry).site.name


def test_everything_wrong_is_said_at_once(findings: Findings) -> None:
    """All findings come together, each with its file, line and key, or with the environment."""
    text = """\
[site]
name = "a b"
[labels]
top_k = "many"
treshold = 0.3
[store.s3]
access_key = "a"
[store.s3.tls]
verfy = true
[[rules]]
include = ["a"]
[[rules]]
bucket = "b"
[rules.limits]
max_pixels = 0
[colour]
"""
    assert [
        "imgtag.toml:2: site.name: string should match pattern '^[A-Za-z0-9][A-Za-z0-9._-]*$'",
        "imgtag.toml:4: labels.top_k: input should be a valid integer, unable to parse string as an integer",
        "imgtag.toml:5: labels.treshold: unknown setting; did you mean `threshold`?",
        "imgtag.toml:6: store.s3.endpoint: is required",
        "imgtag.toml:9: store.s3.tls.verfy: unknown setting; did you mean `verify`?",
        "imgtag.toml:10: rules[0].bucket: is required",
        "imgtag.toml:15: rules[1].limits.max_pixels: input should be greater than 0",
        "imgtag.toml:16: colour: unknown setting",
        "environment: IMGTAG_LABEL__TOP_K: unknown setting; did you mean `IMGTAG_LABELS__TOP_K`?",
        "environment: labels.decimals: input should be less than or equal to 6",
    ] == findings(text, IMGTAG_LABELS__DECIMALS="9", IMGTAG_LABEL__TOP_K="")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[site]\nname = \n", "imgtag.toml:2: not valid TOML: invalid value"),
        ("a = 1\na = 2\n", "imgtag.toml:2: not valid TOML: cannot overwrite a value"),
        ('a = "', "imgtag.toml:1: not valid TOML: unterminated string"),
    ],
)
def test_toml_error_has_its_line(findings: Findings, text: str, expected: str) -> None:
    """A file that is no TOML is one finding."""
    assert [expected] == findings(text)


@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 5_000])
def test_toml_that_python_cannot_hold_is_one_finding(findings: Findings, value: str) -> None:
    """The parser reports numbers of thousands of digits and deep nesting in its own ways."""
    (finding,) = findings(f"a = {value}")

    assert finding.startswith("imgtag.toml:1: not valid TOML: ")


def test_file_that_is_named_must_be_there(tmp_path: Path, registry: Registry) -> None:
    """A path that was given is never replaced by another."""
    for arguments in ({"path": tmp_path / "no.toml", "env": {}}, {"env": {"IMGTAG_CONFIG": str(tmp_path / "no.toml")}}):
        with pytest.raises(InvalidConfig, match=r"no\.toml: there is no such file"):
            load(**arguments, registry=registry)  # type: ignore[arg-type]


def test_file_that_is_no_text_is_a_finding(tmp_path: Path, registry: Registry) -> None:
    """Neither other encodings nor folders are tracebacks."""
    (tmp_path / "latin").write_bytes(b"name = '\xe9'")

    with pytest.raises(InvalidConfig, match="latin: is not UTF-8"):
        load(tmp_path / "latin", env={}, registry=registry)
    with pytest.raises(InvalidConfig, match="cannot be read: Is a directory"):
        load(tmp_path, env={}, registry=registry)


def test_the_first_file_that_exists_is_read(tmp_path: Path, registry: Registry) -> None:
    """--config before IMGTAG_CONFIG before the usual places."""
    for name in "abcd":
        (tmp_path / name).write_text(f'[site]\nname = "{name}"')
    usual = [tmp_path / "nothing", tmp_path / "c", tmp_path / "d"]
    env = {"IMGTAG_CONFIG": str(tmp_path / "b")}

    assert "a" == load(tmp_path / "a", env=env, registry=registry, paths=usual).site.name
    assert "b" == load(env=env, registry=registry, paths=usual).site.name
    assert "c" == load(env={}, registry=registry, paths=usual).site.name


@pytest.mark.parametrize("folder", ["credentials", "beside", "absolute"])
def test_secret_from_a_file(load_text: Load, tmp_path: Path, folder: str) -> None:
    """A secret's file is looked for among systemd's credentials, then beside the configuration."""
    place = tmp_path if folder == "beside" else tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / "key").write_text("s3cret\n\n")
    name = str(place / "key") if folder == "absolute" else "key"

    config = load_text(
        S3 + f'secret_key_file = "{name}"\n[labels]\nmark_key_file = "{name}"',
        CREDENTIALS_DIRECTORY=str(tmp_path / "credentials"),
    )
    settings: Any = config.require("store").settings

    assert "s3cret\n" == settings.secret_key.get_secret_value()
    assert config.labels.mark_key is not None
    assert "s3cret\n" == config.labels.mark_key.get_secret_value()


def test_what_belongs_to_a_secret_comes_from_a_file_too(load_text: Load, tmp_path: Path) -> None:
    """A Kubernetes Secret holds access key and secret key: both may be files, and only the secret is masked."""
    for name in ("access_key", "secret_key"):
        (tmp_path / name).write_text(f"the {name}\n")
    config = load_text(S3 + 'access_key_file = "access_key"\nsecret_key_file = "secret_key"')
    settings: Any = config.require("store").settings

    assert ("the access_key", "the secret_key") == (settings.access_key, settings.secret_key.get_secret_value())
    assert re.search(
        rf'^access_key = "the access_key" .* # {tmp_path}/imgtag.toml:\d$', render_config(config), re.MULTILINE
    )


def test_secret_file_from_the_environment(load_text: Load, tmp_path: Path) -> None:
    """A variable may name the file too."""
    (tmp_path / "key").write_text("s3cret")

    config = load_text(IMGTAG_LABELS__MARK_KEY_FILE="key")

    assert config.labels.mark_key is not None
    assert "s3cret" == config.labels.mark_key.get_secret_value()


def test_secret_file_that_cannot_be_used_is_a_finding(findings: Findings, tmp_path: Path) -> None:
    """Missing, empty, too large, not a text, beside the secret itself: each is said, and only once."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "large").write_text("x" * 100_000)
    (tmp_path / "binary").write_bytes(b"\xff")

    def message(line: str) -> str:
        (finding,) = findings(f"[labels]\n{line}")
        return finding.removeprefix("imgtag.toml:2: labels.mark_key_file: ")

    assert f"there is no file {tmp_path}/no" == message('mark_key_file = "no"').replace(
        "file no", f"file {tmp_path}/no"
    )
    assert "the file is empty" == message('mark_key_file = "empty"')
    assert "cannot be read: it is too large for a secret" == message('mark_key_file = "large"')
    assert "cannot be read: it is not UTF-8" == message('mark_key_file = "binary"')
    assert "must be the path of a file" == message("mark_key_file = 3")
    assert "conflicts with `mark_key`: keep one of the two" == message('mark_key_file = "no"\nmark_key = "x"')


def test_secrets_are_in_no_message(findings: Findings, load_text: Load) -> None:
    """Not even a plugin that puts the secret into its complaint gives it away."""
    (finding,) = findings(S3 + 'secret_key = "abc"')

    assert "imgtag.toml:3: store.s3.secret_key: ******** is too short" == finding
    config = load_text(S3 + 'secret_key = "abcdef"\n[labels]\nmark_key = "ghijkl"')
    assert "abcdef" not in repr(config)
    assert "ghijkl" not in repr(config)


def test_two_of_a_kind(findings: Findings) -> None:
    """Only one store can be configured; the second one is named."""
    assert ["imgtag.toml:3: store.directory: only one store can be configured, and [store.s3] is already"] == findings(
        S3 + '[store.directory]\nroot = "/x"'
    )
    assert ["environment: store.directory: only one store can be configured, and [store.s3] is already"] == findings(
        S3, IMGTAG_STORE__DIRECTORY__ROOT="/x"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[store.s4]", "imgtag.toml:1: store.s4: there is no store plugin 's4'; did you mean `s3`?"),
        ("[store.tape]", "imgtag.toml:1: store.tape: the store plugin 'tape' is broken: no drive"),
        ("store = 3", "imgtag.toml:1: store: must be a table of tables: write [store.NAME]"),
        ("[labels]\nallow = 'fox'", 'imgtag.toml:2: labels.allow: must be a list: write ["..."]'),
        ("[store]\ns3 = 3", "imgtag.toml:2: store.s3: must be a table"),
        ("[stor.s3]", "imgtag.toml:1: stor: unknown setting; did you mean `store`?"),
        ('[ops]\nlisten = "9464"', "imgtag.toml:2: ops.listen: write HOST:PORT, such as 127.0.0.1:9464"),
        (
            '[labels]\nmark_key = ""',
            "imgtag.toml:2: labels.mark_key: value should have at least 1 item after validation, not 0",
        ),
        ('[labels]\nkeep = ["fact"]', "imgtag.toml:2: labels.keep[0]: input should be 'facts', 'raw' or 'vec'"),
    ],
)
def test_findings_say_what_to_do(findings: Findings, text: str, expected: str) -> None:
    """Wrong plugins and values are told in words that help."""
    assert [expected] == findings(text)


def test_state_directory() -> None:
    """The setting, else systemd's, else the one for root, else the user's own."""
    assert Path("/a") == state_dir(StateSettings(dir=Path("/a")), {"STATE_DIRECTORY": "/b"}, user=0)
    assert Path("/b") == state_dir(StateSettings(), {"STATE_DIRECTORY": "/b:/c"}, user=0)
    assert Path("/var/lib/imgtag") == state_dir(StateSettings(), {"XDG_STATE_HOME": "/d"}, user=0)
    assert Path("/d/imgtag") == state_dir(StateSettings(), {"XDG_STATE_HOME": "/d"}, user=1)
    assert Path("~/.local/state/imgtag").expanduser() == state_dir(StateSettings(), {}, user=1)


def test_drop_ins_are_looked_for_where_the_configuration_says(tmp_path: Path) -> None:
    """[plugins] dir is read before plugins are known, also from the environment, and from a file with other faults."""
    (tmp_path / "drop").mkdir(mode=0o755)
    (tmp_path / "drop" / "acme_found.py").write_text("raise RuntimeError")
    os.chmod(tmp_path / "drop" / "acme_found.py", 0o644)  # noqa: PTH101
    (tmp_path / "imgtag.toml").write_text(f'[plugins]\ndir = "{tmp_path}/drop"\n[nonsense]')

    by_file = discover_plugins(tmp_path / "imgtag.toml", env={})
    by_variable = discover_plugins(env={"IMGTAG_PLUGINS__DIR": str(tmp_path / "drop")}, paths=())
    by_table = discover_plugins(env={"IMGTAG_PLUGINS": f'{{"dir": "{tmp_path}/drop"}}'}, paths=())

    for registry in (by_file, by_variable, by_table):
        assert "acme_found" in [record.name for record in registry.records]
