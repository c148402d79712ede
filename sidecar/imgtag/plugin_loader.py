"""Imports plugins, from installed modules or from drop-ins, and checks that they are what their kind needs."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from imgtag.errors import PluginError
from imgtag.plugin.spec import API_VERSION, KINDS, PluginSpec, Settings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""What a TOML table and a variable of the environment can be called."""


def import_entry(entry: str) -> PluginSpec:
    """Import the spec of ``module:attribute``, or ``/path/of/drop_in.py:attribute``.

    Raises whatever the module raises.
    """
    place, _, attribute = entry.rpartition(":")
    module = import_path(Path(place)) if os.sep in place else import_module(place)
    spec = getattr(module, attribute)
    assert isinstance(spec, PluginSpec), "discovery has checked it"
    return spec


def find_code(entry: str) -> tuple[str, ...]:
    """The drop-in that an entry names, or the folders and the file of the installed package; nothing is imported."""
    place = entry.rpartition(":")[0]
    if os.sep in place:
        return (place,)
    spec = find_spec(place.partition(".")[0])
    if spec is None:
        return ()
    return tuple(spec.submodule_search_locations or filter(None, [spec.origin]))


def import_path(path: Path) -> ModuleType:
    """Import a drop-in under its own name, so that its spec's factory can name it.

    The directory does not go on ``sys.path``: a file there must never stand in for a module of that name.
    """
    loaded = sys.modules.get(path.stem)
    if loaded is not None and loaded.__file__ in {str(path), str(path / "__init__.py")}:
        return loaded
    if loaded is not None or find_spec(path.stem) is not None:
        raise ImportError(f"there is already a module {path.stem!r}: rename the file")
    file, folders = (path / "__init__.py", [str(path)]) if path.is_dir() else (path, None)
    spec = spec_from_file_location(path.stem, file, submodule_search_locations=folders)
    assert spec is not None, "the name ends in .py"
    assert spec.loader is not None, "a source file has a loader"
    module = sys.modules[path.stem] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def find_fault(spec: PluginSpec) -> str:
    """What is wrong with a spec, as far as that shows without importing the factory; empty where nothing is."""
    if spec.api != API_VERSION:
        return f"made for plugin API {spec.api}, this sidecar has {API_VERSION}"
    if spec.kind not in KINDS:
        return f"its kind is {spec.kind!r}; the kinds are {', '.join(KINDS)}"
    if not isinstance(spec.name, str) or not _NAME.fullmatch(spec.name):
        return f"its name is {spec.name!r}; use letters, digits, `-` and `_`, as in the name of a table"
    if not isinstance(spec.settings, type) or not issubclass(spec.settings, Settings):
        name = getattr(spec.settings, "__name__", repr(spec.settings))
        return f"its settings class {name} does not derive from imgtag.plugin.Settings, so typing errors would pass"
    module, colon, attribute = spec.factory.partition(":") if isinstance(spec.factory, str) else ("", "", "")
    if not (module and colon and attribute):
        return f'its factory is {spec.factory!r}; write "module:attribute"'
    return ""


def find_factory_fault(spec: PluginSpec) -> str:
    """What is wrong with the factory of a spec, which is imported for that; empty where nothing is."""
    try:
        factory = load_factory(spec)
        if spec.kind == "classifier":
            _require_fitting_classify(spec, factory)
    except PluginError as error:
        return error.message
    return ""


def load_factory(spec: PluginSpec) -> Callable[..., Any]:
    """Import the factory. Raises PluginError that names the plugin."""
    try:
        factory = spec.load()
    except (Exception, SystemExit) as error:
        message = f"cannot import the factory {spec.factory} of {_label(spec)}: {describe(error)}"
        hint = "Correct `factory` in its PluginSpec, or install what it needs."
        raise PluginError(message, hint=hint) from error
    if not callable(factory):
        message = f"the factory {spec.factory} of {_label(spec)} cannot be called"
        raise PluginError(message, hint="Name a class or a function as `factory` in its PluginSpec.")
    return factory


def require_members(spec: PluginSpec, part: object, protocol: type) -> None:
    """Raises PluginError where a part lacks something that the protocol of its kind declares."""
    # What a protocol declares: methods, properties and attributes.
    declared = [
        name
        for base in protocol.__mro__
        if base.__module__.startswith("imgtag.")
        for name in (*vars(base).get("__annotations__", ()), *vars(base))
        if not name.startswith("_") or name in {"__aenter__", "__aexit__"}
    ]
    missing = [name for name in dict.fromkeys(declared) if not _has(part, name)]
    if missing:
        message = f"{_label(spec)} lacks {', '.join(missing)}"
        raise PluginError(message, hint="docs/reference/plugin-api.md lists what each kind needs.")
    if spec.kind == "classifier":
        _require_fitting_classify(spec, part)


def describe(error: BaseException) -> str:
    """An error of a stranger's code in one line."""
    if isinstance(error, SystemExit):
        return "it exits when it is imported"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _require_fitting_classify(spec: PluginSpec, classifier: object) -> None:
    """Raises PluginError where `classify` is a coroutine in a worker, or none in the main process."""
    classify = getattr(classifier, "classify", None)
    is_coroutine = inspect.iscoroutinefunction(classify)
    if spec.runs == "worker" and is_coroutine:
        message = f"`classify` of the classifier plugin {spec.name!r} is a coroutine, but workers call plain functions"
        raise PluginError(message, hint='Write `def classify`, or set runs="main" for one that asks a server.')
    if spec.runs == "main" and inspect.isfunction(classify) and not is_coroutine:
        message = f"`classify` of the classifier plugin {spec.name!r} would block the sidecar"
        raise PluginError(message, hint='Write `async def classify`, or set runs="worker" for one that computes.')


def _has(part: object, name: str) -> bool:
    """Whether it is there, without evaluating a property that may not be ready yet."""
    missing = object()
    if inspect.getattr_static(part, name, missing) is not missing:
        return True
    try:
        return hasattr(part, name)
    except Exception:  # noqa: BLE001  (a stranger's __getattr__ raises what it likes; something is there)
        return True


def _label(spec: PluginSpec) -> str:
    return f"the {spec.kind} plugin {spec.name!r}"
