"""The folder that the plugin ships: the model file and MODEL.toml, which describes it."""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flatbuffer import write
from lite0 import MEAN, STD
from tflite_metadata import Card, attach
from tflite_metadata import write as metadata

if TYPE_CHECKING:
    from graph import Graph

FOLDER = Path(__file__).resolve().parents[2] / "plugins" / "imgtag_tflite" / "bundled"
LABELS = "labels.txt"


class OtherPackageError(Exception):
    """A package that determines the bytes has another version than MODEL.toml names."""


@dataclass(frozen=True)
class Bundle:
    """The contents of MODEL.toml, and its folder."""

    folder: Path
    about: dict[str, Any]

    @classmethod
    def read(cls, folder: Path = FOLDER) -> Bundle:
        """Read the description of a bundle."""
        return cls(folder, tomllib.loads((folder / "MODEL.toml").read_text(encoding="utf-8")))

    @property
    def model(self) -> Path:
        """The path of the model file."""
        return self.folder / str(self.about["file"])

    @property
    def projection(self) -> Path:
        """The path of the projection of its embedding."""
        return self.folder / str(self.about["projection"])

    @property
    def synsets(self) -> list[str]:
        """WordNet ids in class order."""
        return (self.folder / str(self.about["synsets"])).read_text(encoding="ascii").split()

    def pack(self, graph: Graph) -> bytes:
        """Return the finished .tflite of a graph: description and labels inside."""
        about = self.about
        card = Card(
            name=about["name"],
            description=about["summary"],
            version=about["version"],
            author=about["author"],
            licence=about["licence"],
        )
        described = metadata(card, mean=MEAN, std=STD, labels=LABELS)
        labels = (self.folder / str(about["labels"])).read_bytes()
        return attach(write(graph, about["summary"], described), [(LABELS, labels)])

    def check_packages(self) -> None:
        """Raise OtherPackageError if a package that determines the bytes has another version than MODEL.toml names."""
        for name, wanted in self.about["provenance"]["packages"].items():
            if version(name) != wanted:
                raise OtherPackageError(f"the bytes need {name}=={wanted}; installed is {version(name)}")

    def save(self, content: bytes, projection: bytes) -> None:
        """Write the model file and the projection, and digest and size of the model into MODEL.toml."""
        self.model.write_bytes(content)
        self.projection.write_bytes(projection)
        path = self.folder / "MODEL.toml"
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"(?m)^sha256 = .*$", f'sha256 = "{digest(content)}"', text)
        path.write_text(re.sub(r"(?m)^bytes = .*$", f"bytes = {len(content)}", text), encoding="utf-8")

    def agrees(self, content: bytes, projection: bytes) -> bool:
        """Whether a build is byte for byte what MODEL.toml names and the files hold."""
        same = digest(content) == str(self.about["sha256"]) == digest(self.model.read_bytes())
        return same and projection == self.projection.read_bytes()


def digest(content: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(content).hexdigest()
