"""Where a plugin is imported from: an installed module, or a drop-in's path."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from imgtag.plugin.spec import PluginSpec


def import_entry(entry: str) -> PluginSpec:
    """Import the spec of ``module:attribute``, or ``/path/of/drop_in.py:attribute``.

    Raises whatever the module raises.
    """
    place, _, attribute = entry.rpartition(":")
    module = import_path(Path(place)) if os.sep in place else import_module(place)
    spec = getattr(module, attribute)
    assert isinstance(spec, PluginSpec), "discovery has looked at it"
    return spec


def import_path(path: Path) -> ModuleType:
    """Import a drop-in under its own name, so that its spec's factory can name it.

    The directory does not go on ``sys.path``: a file there must never stand in for a module of that name.
    """
    loaded = sys.modules.get(path.stem)
    if loaded is not None and _is_from(loaded, path):
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


def _is_from(module: ModuleType, path: Path) -> bool:
    return module.__file__ in {str(path), str(path / "__init__.py")}
