"""Build, calibrate and check the bundled model; see README.md beside this file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import lite0
import weights
from bundle import Bundle, OtherPackageError, digest
from calibrate import calibrate, load, save
from evaluate import evaluate
from pictures import evenly, folder, pixels
from project import projection
from quantise import quantise

if TYPE_CHECKING:
    from graph import Graph

RANGES = Path(__file__).with_name("ranges.json")


def say(text: str) -> None:
    """One line of result."""
    sys.stdout.write(text + "\n")


def float_graph(arguments: argparse.Namespace) -> Graph:
    """The float graph, from the given weights or those of the installed package."""
    return lite0.build(weights.read(arguments.weights or weights.find()))


def build(arguments: argparse.Namespace) -> int:
    """Build the bundle, or only check that a build gives the committed bytes, or write a float variant."""
    bundle = Bundle.read()
    graph = float_graph(arguments)
    if arguments.float:
        arguments.float.write_bytes(bundle.pack(graph))
        return 0
    if arguments.onnx:
        import onnx_file  # noqa: PLC0415  # an extra of the package, which nothing else here needs

        arguments.onnx.write_bytes(onnx_file.write(graph))
        return 0
    bundle.check_packages()
    small = quantise(graph, load(RANGES))
    content, way = bundle.pack(small), projection(small)
    if arguments.check:
        same = bundle.agrees(content, way)
        say(f"{digest(content)} {'is' if same else 'is NOT'} the committed model")
        return 0 if same else 1
    bundle.save(content, way)
    say(f"{digest(content)} {len(content)} bytes {bundle.model.name}")
    return 0


def recalibrate(arguments: argparse.Namespace) -> int:
    """Compute ranges.json again from a folder of pictures."""
    pictures = map(pixels, evenly(folder(arguments.pictures), arguments.count))
    save(calibrate(float_graph(arguments), pictures), RANGES)
    return 0


def measure(arguments: argparse.Namespace) -> int:
    """Compare the float graph and the committed model on pictures named after their class."""
    bundle = Bundle.read()
    paths = folder(arguments.pictures)
    for name, model in (("float", bundle.pack(float_graph(arguments))), ("int8", bundle.model.read_bytes())):
        seen = evaluate(model, paths, bundle.synsets)
        top1, top5 = (100 * count / seen.pictures for count in (seen.top1, seen.top5))
        say(f"{name}: top-1 {top1:.1f} %, top-5 {top5:.1f} % of {seen.pictures}; {seen.milliseconds:.1f} ms each")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="scripts/model", description=__doc__)
    top.add_argument("--weights", type=Path, help=f"the .pth file (default: the installed {weights.PACKAGE})")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("build", help="write the bundled model and its digest")
    variant = command.add_mutually_exclusive_group()
    variant.add_argument("--check", action="store_true", help="write nothing; exit 1 where the bytes differ")
    variant.add_argument("--float", type=Path, metavar="FILE", help="write the float32 variant to FILE instead")
    variant.add_argument("--onnx", type=Path, metavar="FILE", help="write the float32 variant as an ONNX model instead")
    command.set_defaults(run=build)
    command = commands.add_parser("calibrate", help="write ranges.json from a folder of pictures")
    command.add_argument("pictures", type=Path)
    command.add_argument("--count", type=int, default=100, help="how many of them, evenly spread")
    command.set_defaults(run=recalibrate)
    command = commands.add_parser("evaluate", help="compare float and int8 on pictures named n01440764_tench.JPEG")
    command.add_argument("pictures", type=Path)
    command.set_defaults(run=measure)
    return top


def main() -> int:
    """Run one command; 1 where it failed."""
    arguments = parser().parse_args()
    try:
        return int(arguments.run(arguments))
    except (weights.WeightsError, OtherPackageError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
