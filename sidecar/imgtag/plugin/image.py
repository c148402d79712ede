"""A decoded picture, as classifiers get it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from PIL import Image as Pillow

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Image:
    """A picture in RGB, oriented as its camera meant it."""

    def __init__(self, picture: Pillow.Image) -> None:
        if picture.mode != "RGB":
            raise ValueError(f"an image is RGB, not {picture.mode}")
        self._picture = picture

    @classmethod
    def from_array(cls, array: NDArray[np.uint8]) -> Self:
        """From uint8 [height, width, 3]."""
        return cls(Pillow.fromarray(array))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self._picture.size

    @property
    def array(self) -> NDArray[np.uint8]:
        """uint8 [height, width, 3]."""
        return np.asarray(self._picture)

    def fit(self, size: tuple[int, int], *, crop: float = 1.0) -> NDArray[np.uint8]:
        """uint8 [height, width, 3] of exactly ``size``: the middle of the picture, resized bicubically.

        ``crop`` is the share of the shorter side that stays (0.875 is what ImageNet models were tested with).
        """
        width, height = self.size
        share = crop * min(width / size[0], height / size[1])
        across, down = share * size[0], share * size[1]
        left, top = (width - across) / 2, (height - down) / 2
        box = (left, top, left + across, top + down)
        return np.asarray(self._picture.resize(size, Pillow.Resampling.BICUBIC, box=box))
