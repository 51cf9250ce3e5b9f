"""One photograph in, five sizes of it out: the slow part of the service."""

from pathlib import Path
from typing import Final

from PIL import Image, ImageOps

SIZES: Final = (1600, 1024, 512, 256, 128)
"""The longest edge of each thumbnail, in pixels; none is larger than its photograph."""


def make_sizes(original: Path, folder: Path) -> list[Path]:
    """Write the thumbnails of `original` to `folder` and return their paths, largest first.

    Safe to repeat, also while another run is at it: a thumbnail appears whole, under a name
    that depends on its size alone. Raises OSError for what is no picture, or half of one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(original) as photo:
        photo.draft("RGB", (SIZES[0], SIZES[0]))  # JPEG: decode no more pixels than needed
        picture = ImageOps.exif_transpose(photo).convert("RGB")
    made: list[Path] = []
    for size in SIZES:
        picture.thumbnail((size, size))
        made.append(_save(picture, folder / f"{size}.jpg"))
    return made


def _save(picture: Image.Image, path: Path) -> Path:
    unfinished = path.with_suffix(".unfinished")
    picture.save(unfinished, "JPEG", quality=85)
    return unfinished.replace(path)
