"""HEIC through libheif, which the extra ``heif`` brings."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from typing import Any

from imgtag.workers.child.boxes import read_items
from imgtag.workers.child.raster import BufferRaster

EXTRA = "heif"
_MODULE = "pi_heif"
_CODED = b"hvc1"


def installed_extras() -> frozenset[str]:
    """The extras for decoding that are installed."""
    return frozenset({EXTRA} if find_spec(_MODULE) else ())


def declared_sizes(data: bytes) -> set[tuple[int, int]]:
    """Of all images of a file, and of grids by their own data. Raises ValueError; Unreadable for too many parts."""
    sizes = set[tuple[int, int]]()
    for item in read_items(data):
        if item.kind == _CODED and not item.sizes:
            raise ValueError("an image has no size")
        sizes |= item.sizes
    return sizes


class HeicFile:
    """A HEIC file with its headers read; only `raster` decodes. Raises whatever libheif raises."""

    def __init__(self, data: bytes) -> None:
        library = import_module(_MODULE)
        # A worker has one core, and thread stacks count as its memory. Only the primary image is of use.
        library.options.DECODE_THREADS = 1
        library.options.THUMBNAILS = library.options.DEPTH_IMAGES = library.options.AUX_IMAGES = False
        images = library.HeifFile(BytesIO(data), convert_hdr_to_8bit=True, remove_stride=False)
        self._image = images[images.primary_index]
        self.size: tuple[int, int] = self._image.size

    @property
    def info(self) -> dict[str, Any]:
        """Like the info of a Pillow image. libheif rotates the image itself and resets the orientation in its EXIF."""
        return {str(name): value for name, value in self._image.info.items()}

    def raster(self) -> BufferRaster:
        """Decode. The size is known for certain only now."""
        data = self._image.data
        mode = self._image.mode
        return BufferRaster(data, self._image.size, mode, mode, self._image.stride)
