#!/usr/bin/env python3
"""Build the Debian package: `make deb`.

python packaging/deb/build.py [--python /usr/bin/python3] [--output dist]

The libraries are those in packaging/requirements.lock, for the given Python: the one in the Debian release that the
package is built on and for. The same commit gives the same bytes, wherever and whenever it is built.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

from click.shell_completion import BashComplete, FishComplete, ZshComplete

from imgtag import __version__
from imgtag.cli.main import cli

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOME = "/usr/lib/imgtag"
"""Private, architecture-dependent files of the package; only one of its commands belongs on PATH."""
GLIBC = re.compile(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)")
CONFFILES = ("/etc/default/imgtag",)
START = f"""\
#!{HOME}/bin/python -I
import sys

from imgtag.cli.main import main

sys.exit(main())
"""
COMPLETIONS = {
    "bash-completion/completions/imgtag": BashComplete,
    "zsh/vendor-completions/_imgtag": ZshComplete,
    "fish/vendor_completions.d/imgtag.fish": FishComplete,
}
DOCS = {
    "systemd/README.md": "README.md",
    "README.md": "imgtag.md",
    "systemd/imgtag.service.d": "examples/imgtag.service.d",
}


@dataclass(frozen=True)
class Python:
    """The interpreter of the target system."""

    path: str
    version: tuple[int, int]

    @classmethod
    def at(cls, path: str) -> Python:
        asked = "import sys; print(*sys.version_info[:2])"
        major, minor = output(path, "-I", "-c", asked).split()
        return cls(path, (int(major), int(minor)))

    @property
    def name(self) -> str:
        return f"python{self.version[0]}.{self.version[1]}"


class Package:
    """The file tree of the package during the build, below ``root``."""

    def __init__(self, work: Path, python: Python, epoch: int) -> None:
        self.work, self.python, self.epoch = work, python, epoch
        self.root = work / "root"
        self.libraries = self.path(f"{HOME}/lib/{python.name}/site-packages")

    def path(self, installed: str) -> Path:
        """Return the current path of a file that will be installed at ``installed``."""
        return self.root / installed.lstrip("/")

    def write(self, installed: str, text: str | bytes, mode: int = 0o644) -> None:
        """Write one file and create its parent folders."""
        path = self.path(installed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)

    def fill(self) -> None:
        """Write all files except those of dpkg."""
        self._environment()
        self._compile()
        for unit in ("imgtag.service", "imgtag@.service", "imgtag-audit.service", "imgtag-audit.timer"):
            self.write(f"/usr/lib/systemd/system/{unit}", (ROOT / "systemd" / unit).read_bytes())
        self.path("/etc/imgtag").mkdir(parents=True)  # otherwise systemd creates it for the service's user
        self.write("/etc/default/imgtag", (HERE / "default").read_bytes())
        self._manual()
        for path, shell in COMPLETIONS.items():
            self.write(f"/usr/share/{path}", shell(cli, {}, "imgtag", "_IMGTAG_COMPLETE").source())
        self._docs()

    def _environment(self) -> None:
        """Create a virtual environment by hand, because the venv module would record the current path."""
        major, minor = self.python.version
        self.write(
            f"{HOME}/pyvenv.cfg", f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {major}.{minor}\n"
        )
        self.write(f"{HOME}/bin/imgtag", START, 0o755)
        self.path(f"{HOME}/bin/python").symlink_to(f"/usr/bin/{self.python.name}")
        self.path("/usr/bin").mkdir()
        self.path("/usr/bin/imgtag").symlink_to("../lib/imgtag/bin/imgtag")
        self._install()
        shutil.rmtree(self.libraries / "bin")  # commands of the libraries
        for name in ("direct_url.json", "RECORD", "REQUESTED"):  # paths of this machine, and files that only pip needs
            for path in self.libraries.glob(f"*.dist-info/{name}"):
                path.unlink()

    def _install(self) -> None:
        tools, wheels = self.work / "tools", self.work / "wheels"
        run(self.python.path, "-m", "venv", "--without-pip", tools)
        pip = (sys.executable, "-m", "pip", "--quiet", "--python", tools)
        run(*pip, "install", "--require-hashes", "--only-binary", ":all:", "-r", ROOT / "packaging/build.lock")
        make = (*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels)
        run(*make, "--require-hashes", "-r", ROOT / "packaging/requirements.lock", epoch=self.epoch)
        run(*make, ROOT, epoch=self.epoch)
        install = (*pip, "install", "--no-index", "--no-deps", "--no-compile", "--target", self.libraries)
        run(*install, *sorted(wheels.glob("*.whl")))

    def _compile(self) -> None:
        """Compile now, so that the installation does not; unchecked hashes are safe: dpkg replaces all files."""
        options = ("--invalidation-mode", "unchecked-hash", "-s", self.root, "-p", "/")
        run(self.python.path, "-I", "-m", "compileall", "-q", *options, self.libraries, code=None)

    def _manual(self) -> None:
        run(sys.executable, ROOT / "packaging/man.py", self.work / "man", epoch=self.epoch)
        for page in sorted((self.work / "man").iterdir()):
            self.write(f"/usr/share/man/man1/{page.name}.gz", gzip.compress(page.read_bytes(), mtime=0))

    def _docs(self) -> None:
        docs = "/usr/share/doc/imgtag"
        self.write(f"{docs}/copyright", (HERE / "copyright").read_text() + "".join(self._licences()))
        self.write(f"{docs}/changelog.gz", gzip.compress((ROOT / "CHANGELOG.md").read_bytes(), mtime=0))
        for source, name in DOCS.items():
            files = (ROOT / source).iterdir() if (ROOT / source).is_dir() else [ROOT / source]
            for file in files:
                below = f"{name}/{file.name}" if (ROOT / source).is_dir() else name
                self.write(f"{docs}/{below}", file.read_bytes())

    def _licences(self) -> Iterator[str]:
        for file in sorted(self.libraries.glob("*.dist-info/METADATA")):
            facts = HeaderParser().parsestr(file.read_text())
            classified = [
                each.rpartition(" :: ")[2] for each in facts.get_all("Classifier", []) if "License ::" in each
            ]
            licence = (
                facts["License-Expression"] or ", ".join(classified) or (facts["License"] or "see there").split("\n")[0]
            )
            yield f"  {facts['Name']} {facts['Version']}: {licence}\n"

    def control(self) -> None:
        """Write the files of dpkg, which depend on all others."""
        files = sorted(path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink())
        sums = [f"{hashlib.md5(file.read_bytes()).hexdigest()}  {file.relative_to(self.root)}\n" for file in files]  # noqa: S324 - dpkg's
        size = sum(-(-file.stat().st_size // 1024) for file in files)
        self.write("/DEBIAN/md5sums", "".join(sums))
        self.write("/DEBIAN/conffiles", "".join(f"{name}\n" for name in CONFFILES))
        self.write("/DEBIAN/control", (HERE / "control").read_text().format(**self._facts(), size=size))
        for script in ("postinst", "prerm", "postrm"):
            self.write(f"/DEBIAN/{script}", (HERE / script).read_bytes(), 0o755)

    def _facts(self) -> dict[str, str]:
        major, minor = self.python.version
        metadata = next(self.libraries.glob("imgtag_sidecar-*.dist-info/METADATA")).read_text()
        return {
            "version": debian_version(__version__),
            "architecture": architecture(),
            "python": f"{major}.{minor}",
            "next_python": f"{major}.{minor + 1}~",
            "libc": ".".join(map(str, self._libc())),
            "summary": HeaderParser().parsestr(metadata)["Summary"],
        }

    def _libc(self) -> tuple[int, int]:
        """Return the newest C library version that any file needs; it depends on the wheels for this machine."""
        texts = (library.read_bytes() for library in self.libraries.rglob("*.so*"))
        return max((int(major), int(minor)) for text in texts for major, minor in GLIBC.findall(text))

    def pack(self, output: Path) -> Path:
        """Build the package in the folder ``output``."""
        target = output / f"imgtag_{debian_version(__version__)}_{architecture()}.deb"
        output.mkdir(parents=True, exist_ok=True)
        self._settle()
        run(
            "dpkg-deb",
            "--root-owner-group",
            "-Zzstd",
            "-z10",
            "--threads-max=1",
            "--build",
            self.root,
            target,
            epoch=self.epoch,
        )
        return target

    def _settle(self) -> None:
        """Set modes and times independent of the builder and the time."""
        for path in [self.root, *self.root.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            os.utime(path, (self.epoch, self.epoch), follow_symlinks=False)


def architecture() -> str:
    """Return dpkg's name for this processor."""
    return output("dpkg", "--print-architecture")


def debian_version(version: str) -> str:
    """Return a Python version in dpkg's order, where pre-releases are older than the release."""
    for sign in (".dev", "a", "b", "rc"):
        version = version.replace(sign, "~" + sign.lstrip("."), 1)
    return version


def run(*command: object, epoch: int | None = None, code: int | None = 0) -> None:
    """Run it; anything but this exit code ends the build."""
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if epoch is not None:
        environment["SOURCE_DATE_EPOCH"] = str(epoch)
    words = [str(word) for word in command]
    done = subprocess.run(words, env=environment, check=False)  # noqa: S603 - of this file
    if code is not None and done.returncode != code:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}")


def output(*command: str) -> str:
    """What it prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()  # noqa: S603 - of this file


def main() -> None:
    """Build it, and print where it is."""
    parser = argparse.ArgumentParser(description="Build the Debian package.")
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter that it will depend on")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or output("git", "log", "-1", "--format=%ct"))
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="imgtag-deb-") as work:
        package = Package(Path(work), Python.at(options.python), epoch)
        package.fill()
        package.control()
        print(package.pack(options.output))


if __name__ == "__main__":
    main()
