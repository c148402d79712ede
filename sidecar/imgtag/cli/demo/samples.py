"""Sample images for the demo, from packages that include them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from imgtag.errors import ImgtagError


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An image of a package, its name, time and place in the demo, which are made up, and its credit."""

    package: str
    path: str
    name: str
    taken: str
    lat: float
    lng: float
    credit: str

    def file(self) -> Path:
        """Where it is. Raises ImgtagError."""
        spec = find_spec(self.package)
        file = Path(spec.origin or "").parent / self.path if spec else Path()
        if not file.is_file():
            raise ImgtagError(
                f"the demo's images are not installed ({self.package})", hint="pip install 'imgtag-sidecar[demo]'"
            )
        return file


_FLICKR = "https://www.flickr.com/photos"
_CC_BY = "CC BY 2.0, https://creativecommons.org/licenses/by/2.0/"
SAMPLES = (
    Sample(
        package="skimage",
        path="data/chelsea.png",
        name="pets/chelsea.jpg",
        taken="2023:05:14 09:12:00",
        lat=-33.9321,
        lng=18.8602,
        credit="Chelsea the cat by Stéfan van der Walt, CC0 (scikit-image)",
    ),
    Sample(
        package="skimage",
        path="data/coffee.png",
        name="kitchen/coffee.jpg",
        taken="2024:01:20 07:45:00",
        lat=41.8719,
        lng=12.5674,
        credit="Coffee by Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0 (scikit-image)",
    ),
    Sample(
        package="skimage",
        path="data/rocket.jpg",
        name="space/launch.jpg",
        taken="2024:07:01 13:33:00",
        lat=28.3922,
        lng=-80.6077,
        credit="Rocket launch by SpaceX, CC0 (scikit-image)",
    ),
    Sample(
        package="skimage",
        path="data/motorcycle_left.png",
        name="garage/two wheels.jpg",
        taken="2024:09:08 16:20:00",
        lat=44.0153,
        lng=-73.1673,
        credit="Motorcycle from the Middlebury stereo benchmark 2014 by Scharstein et al. (scikit-image)",
    ),
    Sample(
        package="sklearn",
        path="datasets/images/flower.jpg",
        name="garden/flower.jpg",
        taken="2025:06:21 11:05:00",
        lat=47.3769,
        lng=8.5417,
        credit=f"Flower by vultilion, {_FLICKR}/vultilion/6056698931/, {_CC_BY} (scikit-learn)",
    ),
    Sample(
        package="sklearn",
        path="datasets/images/china.jpg",
        name="travel/china.jpg",
        taken="2025:10:02 15:40:00",
        lat=39.9996,
        lng=116.2755,
        credit=f"China by danielbuechele, {_FLICKR}/danielbuechele/6061409035/, {_CC_BY} (scikit-learn)",
    ),
)


def copy_samples(folder: Path) -> Iterator[Sample]:
    """Write the samples below ``folder`` as JPEGs with EXIF; yields each once it is written."""
    from PIL import ExifTags, Image  # noqa: PLC0415  (only the demo makes pictures in this process)

    for sample in SAMPLES:
        target = folder / sample.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(sample.file()) as picture:
            exif = Image.Exif()
            exif[ExifTags.Base.Make] = "imgtag"
            exif[ExifTags.Base.Model] = "demo"
            exif[ExifTags.Base.DateTime] = sample.taken
            exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = sample.taken
            exif.get_ifd(ExifTags.IFD.GPSInfo).update(
                {
                    ExifTags.GPS.GPSLatitudeRef: "S" if sample.lat < 0 else "N",
                    ExifTags.GPS.GPSLatitude: _degrees(sample.lat),
                    ExifTags.GPS.GPSLongitudeRef: "W" if sample.lng < 0 else "E",
                    ExifTags.GPS.GPSLongitude: _degrees(sample.lng),
                }
            )
            picture.convert("RGB").save(target, quality=95, exif=exif)
        yield sample


def _degrees(value: float) -> tuple[float, float, float]:
    minutes, seconds = divmod(round(abs(value) * 3600, 2), 60)
    degrees, minutes = divmod(minutes, 60)
    return degrees, minutes, seconds
