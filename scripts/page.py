"""Make the parts of the search page that others wrote: Preact, htm, and an outline of the world.

They are committed, so that neither an installation nor a build needs node. Usage: page.py [--check]; needs npm.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

PAGE = Path(__file__).parent.parent / "sidecar" / "imgtag" / "web" / "page"
PACKAGES = {  # name and version -> SHA-256 of the package
    "preact@11.2.0": "3c4456766bd32b6b534d52bf4e9c2a29b33e7eedf6e96ed479300ba1a7888ebf",
    "htm@3.1.1": "2425b9bee11409177bcabc7f32e319926fc6690c1701c0b257c88bdff2d5ba90",
    "world-atlas@2.0.2": "032e7765f2ce00edaeafec23ff22bc3b77e42987c257da944cc585b452c05b97",
}
STEP = 0.5
"""Degrees to which the outline is rounded: a third of a pixel on a map that is 250 pixels wide."""
Point = tuple[float, float]


def main() -> None:
    packages = {name.rsplit("@", 1)[0]: files for name, files in _fetch(PACKAGES)}
    preact, htm, atlas = (packages[name] for name in ("preact", "htm", "world-atlas"))
    made = {
        "vendor/preact.js": _without_map(preact["dist/preact.mjs"]),
        # A browser knows no names of packages, only paths.
        "vendor/hooks.js": _without_map(preact["hooks/dist/hooks.mjs"]).replace(b'from"preact"', b'from"./preact.js"'),
        "vendor/htm.js": htm["dist/htm.module.js"],
        "vendor/LICENSE.preact": preact["LICENSE"],
        "vendor/LICENSE.htm": htm["LICENSE"],
        "vendor/LICENSE.world-atlas": atlas["LICENSE"],
        "world.svg": _outline(json.loads(atlas["land-110m.json"])).encode(),
    }
    assert b'"./preact.js"' in made["vendor/hooks.js"]
    if "--check" in sys.argv[1:]:
        differing = [name for name, content in made.items() if (PAGE / name).read_bytes() != content]
        sys.exit(f"not what this script makes: {', '.join(differing)}" if differing else 0)
    (PAGE / "vendor").mkdir(exist_ok=True)
    for name, content in made.items():
        (PAGE / name).write_bytes(content)


def _fetch(packages: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """Each package with its files."""
    with tempfile.TemporaryDirectory() as folder:
        for name, digest in packages.items():
            command = ["npm", "pack", "--silent", "--pack-destination", folder, name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - of the list above
            file = done.stdout.strip()
            content = (Path(folder) / file).read_bytes()
            if hashlib.sha256(content).hexdigest() != digest:
                sys.exit(f"{name} has the SHA-256 {hashlib.sha256(content).hexdigest()}, not {digest}")
            with tarfile.open(Path(folder) / file) as archive:
                members = [member for member in archive if member.isfile()]
                yield name, {_inner(member.name): _content(archive, member) for member in members}


def _inner(name: str) -> str:
    return name.partition("/")[2]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def _without_map(script: bytes) -> bytes:
    """Without the comment that has developer tools ask for a file that is not there."""
    return script.partition(b"//# sourceMappingURL=")[0].rstrip() + b"\n"


def _outline(topology: Mapping[str, dict]) -> str:
    """Land as one SVG path, a unit for a degree: longitude + 180, 90 - latitude.

    https://github.com/topojson/topojson-specification: arcs are integers, each relative to the one before.
    """
    (scale_x, scale_y), (move_x, move_y) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs: list[list[Point]] = []
    for arc in topology["arcs"]:
        x = y = 0
        points = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            points.append((x * scale_x + move_x + 180, 90 - y * scale_y - move_y))
        arcs.append(points)
    rings = [
        ring for geometry in topology["objects"]["land"]["geometries"] for part in geometry["arcs"] for ring in part
    ]
    path = "".join(map(_path, filter(None, (_simplified(_joined(ring, arcs)) for ring in rings))))
    return (
        "<!-- Made by scripts/page.py from Natural Earth, 1:110m, which is in the public domain. -->\n"
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 360 180">'
        f'<path id="land" fill-rule="evenodd" d="{path}"/></svg>\n'
    )


def _joined(ring: list[int], arcs: list[list[Point]]) -> list[Point]:
    """The points of a ring; ~n stands for arc n backwards."""
    points: list[Point] = []
    for number in ring:
        arc = arcs[number] if number >= 0 else arcs[~number][::-1]
        points += arc[1:] if points else arc
    return points


def _simplified(points: list[Point]) -> list[Point]:
    """Rounded, without points that stay where they are; empty for what is then no area."""
    rounded: list[Point] = []
    for x, y in points:
        point = (round(x / STEP) * STEP, round(y / STEP) * STEP)
        if not rounded or rounded[-1] != point:
            rounded.append(point)
    return rounded if len(set(rounded)) > 2 else []


def _path(points: list[Point]) -> str:
    """Relative steps, which are shorter than places."""
    text = f"M{points[0][0]:g} {points[0][1]:g}l"
    steps = [(x - a, y - b) for (a, b), (x, y) in pairwise(points)]
    joined = " ".join(f"{dx:g} {dy:g}" for dx, dy in steps).replace(" -", "-")
    return text + re.sub(r"\b0\.", ".", joined) + "z"


if __name__ == "__main__":
    main()
