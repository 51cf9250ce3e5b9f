"""The photographs that the users of the story upload."""

import math
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from backline.clock import SYSTEM_CLOCK
from backline.demo.thumbnails import make_sizes
from backline.errors import BacklineError
from backline.job import Micros

BUNDLED: Final = Path(__file__).parent / "photos"
CAMERA: Final = 12_000_000
"""Pixels of a photograph as phones take them. The bundled ones are kept small and enlarged."""
_MOST: Final = 12
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp"})


class NoPhotographs(BacklineError):
    """There is nothing to upload; the message says where it was looked for."""


class Album(NamedTuple):
    """Photographs to upload, and how hard they are on a worker."""

    photos: list[Path]
    megapixels: float
    """On average."""
    effort: Micros
    """How long one core takes to make the thumbnails of one, on average."""


def bundled(folder: Path) -> Album:
    """The photographs that come with Backline, at a camera's size, written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    photos: list[Path] = []
    for source in sorted(BUNDLED.glob("*.jpg")):
        with Image.open(source) as photo:
            factor = math.sqrt(CAMERA / (photo.width * photo.height))
            size = (round(photo.width * factor), round(photo.height * factor))
            large = photo.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        photos.append(folder / source.name)
        large.save(photos[-1], "JPEG", quality=85)
    return _album(photos, folder)


def of_directory(directory: Path, folder: Path) -> Album:
    """The first few pictures of `directory`, as they are. Raises NoPhotographs, OSError.

    The thumbnails of a rehearsal go to `folder`.
    """
    photos = sorted(path for path in directory.glob("*") if path.suffix.lower() in _SUFFIXES)
    if not photos:
        raise NoPhotographs(f"no {', '.join(sorted(_SUFFIXES))} in {directory}")
    return _album(photos[:_MOST], folder)


def half(photo: Path) -> bytes:
    """A photograph whose second half was lost on the way."""
    data = photo.read_bytes()
    return data[: len(data) // 2]


def _album(photos: list[Path], folder: Path) -> Album:
    pixels, start = 0, SYSTEM_CLOCK.tick()
    for photo in photos:
        with Image.open(photo) as image:
            pixels += image.width * image.height
        make_sizes(photo, folder / "rehearsal")
    effort = (SYSTEM_CLOCK.tick() - start) // len(photos)
    return Album(photos, pixels / len(photos) / 1e6, effort)
