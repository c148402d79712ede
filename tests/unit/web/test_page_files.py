"""The files of the search page, which no build step checks."""

from __future__ import annotations

import re

from imgtag.web.application import PAGE

MODULES = [*PAGE.glob("*.js")]


def test_every_import_names_a_file_and_what_that_exports():
    """A browser would show nothing where one does not."""
    exports = {
        path.name: set(re.findall(r"^export (?:async )?(?:function|const|class) (\w+)", path.read_text(), re.MULTILINE))
        for path in MODULES
    }
    for path in MODULES:
        for names, target in re.findall(r"^import \{([^}]+)\} from '\./([\w./]+)';", path.read_text(), re.MULTILINE):
            assert (PAGE / target).is_file(), f"{path.name}: {target}"
            if target in exports and target != "html.js":
                wanted = {name.split(" as ")[0].strip() for name in names.split(",") if name.strip()}
                assert wanted <= exports[target], f"{path.name}: {target}"


def test_the_page_is_small():
    """All files together, before compression."""
    assert sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file()) < 200_000


def test_nothing_is_put_in_as_markup_or_asked_from_elsewhere():
    """Names are the words of strangers, so no code puts one in as HTML; no address leads to another host."""
    for path in [*MODULES, PAGE / "index.html", PAGE / "style.css"]:
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), (
            path.name
        )
        assert not re.search(r"(?:https?:)?//(?!\s)[a-z0-9-]+\.[a-z]", re.sub(r"http://www\.w3\.org/\S+", "", text)), (
            path.name
        )
