"""Mutation tests: change the modules that decide, one place at a time, and run the tests that reach each place.

    python scripts/mutation [MODULE ...]     all of MODULES, or those whose path ends in one of these

mutmut makes the changes and records which tests reach which function. It supports one source root, so each module is
tested in a copy of the tree below build/mutation/ in which `sidecar/` and `plugins/` are one. A second run tries again
what survived and what changed since; remove build/mutation to start over. The last lines are the figures of
tests/mutation.md.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]
STAGE = ROOT / "build" / "mutation"
MODULES: dict[str, tuple[str, ...]] = {
    **{
        f"sidecar/imgtag/types/{name}.py": tuple(f"tests/unit/types/test_{about}.py" for about in tests)
        for name, tests in {
            "mark": ("mark", "records"),
            "metadata": ("metadata", "signature"),
            "signature": ("signature", "mark"),
        }.items()
    },
    "sidecar/imgtag/plugin/notifications.py": ("tests/unit/plugin",),
    "plugins/imgtag_s3/versions.py": ("tests/unit/s3/test_s3_versions.py", "tests/unit/s3/test_s3_writeback.py"),
    "plugins/imgtag_s3/writeback.py": ("tests/unit/s3/test_s3_writer.py", "tests/unit/s3/test_s3_writeback.py"),
    "sidecar/imgtag/workers/pool.py": ("tests/unit/workers/test_pool.py", "tests/unit/workers/test_pool_models.py"),
    "sidecar/imgtag/config/policy.py": ("tests/unit/config",),
    "sidecar/imgtag/config/globs.py": ("tests/unit/config/test_policy.py",),
    "sidecar/imgtag/labels/rules.py": ("tests/unit/labels", "tests/unit/config/test_label_rules.py"),
    **{
        f"sidecar/imgtag/{name}.py": tuple(f"tests/unit/pipeline/test_{about}.py" for about in tests)
        for name, tests in {
            "pipeline": ("pipeline", "setbacks", "observed", "fairness"),
            "reconcile": ("reconcile", "trust", "observed", "annotate", "setbacks"),
            "stages/annotate": ("annotate", "reconcile", "trust"),
            "stages/classify": ("classify", "reconcile"),
            "stages/compare": ("compare", "reconcile", "pipeline"),
            "stages/fetch": ("reconcile",),
            "stages/index": ("index", "setbacks", "reconcile"),
            "stages/inspect": ("inspect", "trust"),
            "stages/receive": ("receive", "trust"),
            "types/image_names": ("inspect",),
        }.items()
    },
    "sidecar/imgtag/stages/document.py": ("tests/unit/types/test_document.py",),
}
"""Each module with the tests that must notice its mutants."""
PATIENCE = {"sidecar/imgtag/workers/pool.py": 2.0}
"""How many times as long as others the tests of a module may take: these start processes."""
OPTIONS = ("--assert=plain", "-pno:cacheprovider", "--hypothesis-profile=mutation")
PLUGINS = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTEST_PLUGINS": "anyio.pytest_plugin,pytest_timeout,_hypothesis_pytestplugin",
}
"""What the tests need, named: else every mutant looks for plugins in all installed distributions."""
NOTICED = {1}
"""The exit code where a test failed, or hung until its time was over."""


def main(chosen: list[str]) -> None:
    modules = [path for path in MODULES if not chosen or path.endswith(tuple(chosen))]
    results = {path: try_module(path) for path in modules}
    for path, (survivors, total) in results.items():
        noticed = total - len(survivors)
        print(f"{path:45} {noticed:4} of {total:4} noticed {100 * noticed / max(1, total):5.1f} %")


def try_module(path: str) -> tuple[list[str], int]:
    """The mutants that survive, and how many there are."""
    stage = STAGE / Path(path).stem
    source = lay(stage, path)
    record = stage / "mutants" / f"{source}.meta"
    if record.exists():
        forget_survivors(record)
    # Else a function that was renamed would be tried with the tests that are new since, and with no others.
    (stage / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
    with (stage / "log.txt").open("w") as log:
        mutmut(stage, "run", "--max-children", "2", log=log, patience=PATIENCE.get(path, 1.0))
    ends: dict[str, int | None] = json.loads(record.read_text())["exit_code_by_key"]
    survivors = [name for name, code in ends.items() if code not in NOTICED]
    mutmut(stage, "show", *survivors)
    return survivors, len(ends)


def forget_survivors(record: Path) -> None:
    """Let mutmut try the survivors again, with new tests."""
    results = json.loads(record.read_text())
    ends = results["exit_code_by_key"]
    results["exit_code_by_key"] = {name: code if code in NOTICED else None for name, code in ends.items()}
    record.write_text(json.dumps(results))


def mutmut(stage: Path, *arguments: str, log: IO[str] | None = None, patience: float = 1.0) -> None:
    command = [sys.executable, str(Path(__file__).with_name("run.py")), *arguments]
    # pytest collects the tests again for each mutant, so their bytecode is worth keeping.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= PLUGINS | {"PATIENCE": str(patience)}
    subprocess.run(command, cwd=stage, stdout=log, env=environment, check=True)  # noqa: S603 - of this folder


def lay(stage: Path, path: str) -> Path:
    """Copy what the tests need; returns the path of the module in the copy."""
    for root in ("sidecar", "plugins"):
        refresh(ROOT / root, stage / "src")
    refresh(ROOT / "tests", stage / "tests")
    shutil.rmtree(stage / "mutants" / "tests", ignore_errors=True)
    source = Path("src", *Path(path).parts[1:])
    project = (ROOT / "pyproject.toml").read_text()
    (stage / "pyproject.toml").write_text(project + configuration(source, MODULES[path]))
    return source


def refresh(origin: Path, copy: Path) -> None:
    """Copy the files that changed, with their times, from which mutmut sees what it has done."""
    for file in origin.rglob("*"):
        target = copy / file.relative_to(origin)
        if file.is_dir() or "__pycache__" in file.parts:
            continue
        if not target.exists() or target.stat().st_mtime < file.stat().st_mtime:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)


def configuration(source: Path, tests: tuple[str, ...]) -> str:
    """Settings of mutmut. Log calls are left out: the words of a log line decide nothing.

    Mutants are forked from a process that has imported the tests and run none: caches that tests filled, such as that
    of compiled globs, would hide mutants.
    """
    return f"""
[tool.mutmut]
source_paths = ["src"]
only_mutate = ["{source}"]
do_not_mutate_patterns = ['log\\.(debug|info|warning|error|exception)\\(']
pytest_add_cli_args_test_selection = {json.dumps(tests)}
pytest_add_cli_args = {json.dumps(OPTIONS)}
use_git_change_detection = false
process_isolation = "forkserver"
timeout_multiplier = 50
"""


if __name__ == "__main__":
    main(sys.argv[1:])
