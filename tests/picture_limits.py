"""The limits of a picture as the default configuration has them."""

from imgtag.types.picture_limits import PictureLimits

LIMITS = PictureLimits(pixels=100_000_000, frames=10_000, memory=736 << 20, seconds=30.0)
