"""Generate the reference pages from the code; with --check, list the ones that are out of date."""

from __future__ import annotations

import argparse
import sys

from command_line import commands
from document import document
from failures import errors
from http_api import http_api
from image_formats import image_formats
from log_events import log_events
from measures import metrics
from plugin_api import plugin_api
from plugin_examples import plugin_examples
from queries import query_language
from settings import settings
from sources import ROOT

FOLDER = ROOT / "docs" / "reference"
PAGES = {
    "settings": settings,
    "commands": commands,
    "metrics": metrics,
    "errors": errors,
    "logs": log_events,
    "document": document,
    "query": query_language,
    "http-api": http_api,
    "formats": image_formats,
    "plugin-api": plugin_api,
    "plugin-examples": plugin_examples,
}


def main() -> int:
    """Write every page whose text differs; with --check only list them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page would change")
    check = parser.parse_args().check
    changed = 0
    for name, make in PAGES.items():
        path, text = FOLDER / f"{name}.md", make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        changed += 1
        print(f"{path.relative_to(ROOT)}: {'out of date; run `make docs-reference`' if check else 'written'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and changed > 0)


if __name__ == "__main__":
    sys.exit(main())
