"""The Helm chart as tests see it: rendered, and its files by name."""

from __future__ import annotations

import os
import runpy
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm" / "imgtag"
CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
KUBERNETES = "1.34.2"
"""A Helm that was not built for a release believes in a Kubernetes of 2019."""

Object = dict[str, Any]


@cache
def tool(name: str) -> str:
    """Where a program is; without it the test is skipped, and on CI it fails."""
    path = runpy.run_path(str(ROOT / "scripts" / "servers.py"))["find"](name)
    if path is None:
        missing = f"{name} is not installed: make servers, and the packages of scripts/ci-packages.sh"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(missing)
    return str(path)


def values_file(case: str) -> Path:
    """The values of a case of `ci/`."""
    return CHART / "ci" / f"{case}-values.yaml"


def template(*arguments: str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """`helm template` of the release `release` in the namespace `site`."""
    command = [tool("helm"), "template", "release", str(chart), "--namespace", "site", "--kube-version", KUBERNETES]
    return subprocess.run([*command, *arguments], capture_output=True, text=True)


def render(case: str, *arguments: str) -> list[Object]:
    """All objects of a case."""
    return [resource for resource in yaml.safe_load_all(_manifests(case, *arguments)) if resource]


@cache
def _manifests(case: str, *arguments: str) -> str:
    done = template("--values", str(values_file(case)), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def one(objects: list[Object], kind: str) -> Object:
    """The only object of a kind."""
    [match] = [resource for resource in objects if resource["kind"] == kind]
    return match


def workload(objects: list[Object]) -> Object:
    """The Deployment or DaemonSet."""
    [match] = [resource for resource in objects if resource["kind"] in {"Deployment", "DaemonSet"}]
    return match


def pods(objects: list[Object]) -> list[Object]:
    """The specs of all pods: the sidecar's and that of `helm test`."""
    tests = [resource["spec"] for resource in objects if resource["kind"] == "Pod"]
    return [workload(objects)["spec"]["template"]["spec"], *tests]


def containers(objects: list[Object]) -> Iterator[Object]:
    """All containers of all pods."""
    for pod in pods(objects):
        yield from pod.get("initContainers", [])
        yield from pod["containers"]


def config_file(objects: list[Object]) -> str:
    """The text of imgtag.toml."""
    maps = [resource for resource in objects if resource["kind"] != "ConfigMap" or "imgtag.toml" in resource["data"]]
    return str(one(maps, "ConfigMap")["data"]["imgtag.toml"])
