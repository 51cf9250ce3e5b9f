from pathlib import Path

import pytest
from PIL import Image

from backline.demo.album import BUNDLED, half
from backline.demo.thumbnails import SIZES, make_sizes


def test_every_size_is_made_and_none_is_enlarged(photo: Path, tmp_path: Path) -> None:
    made = make_sizes(photo, tmp_path / "made")

    assert [path.name for path in made] == [f"{size}.jpg" for size in SIZES]
    for path, size in zip(made, SIZES, strict=True):
        with Image.open(path) as thumbnail:
            assert max(thumbnail.size) == min(size, 800)
            assert thumbnail.format == "JPEG"


def test_repeating_it_writes_the_same_files_and_leaves_no_others(
    photo: Path, tmp_path: Path
) -> None:
    first = {path: path.read_bytes() for path in make_sizes(photo, tmp_path / "made")}
    make_sizes(photo, tmp_path / "made")

    assert {path: path.read_bytes() for path in (tmp_path / "made").iterdir()} == first


def test_a_picture_taken_sideways_stands_upright(tmp_path: Path) -> None:
    sideways, exif = Image.new("RGB", (400, 200), "red"), Image.Exif()
    exif[0x0112] = 6  # orientation: turn it by 90 degrees
    sideways.save(tmp_path / "sideways.jpg", exif=exif)

    for path in make_sizes(tmp_path / "sideways.jpg", tmp_path / "made"):
        with Image.open(path) as thumbnail:
            assert thumbnail.height > thumbnail.width


def test_transparent_pictures_become_jpegs(tmp_path: Path) -> None:
    Image.new("RGBA", (300, 300), (255, 0, 0, 90)).save(tmp_path / "logo.png")
    assert len(make_sizes(tmp_path / "logo.png", tmp_path / "made")) == len(SIZES)


@pytest.mark.parametrize("damage", [half, lambda path: b"no picture at all", lambda path: b""])
def test_a_corrupt_picture_is_an_oserror_and_makes_nothing(
    damage: object, photo: Path, tmp_path: Path
) -> None:
    assert callable(damage)
    photo.write_bytes(damage(photo))
    with pytest.raises(OSError, match="image file"):
        make_sizes(photo, tmp_path / "made")
    assert not list((tmp_path / "made").iterdir())


def test_every_bundled_photograph_is_whole_and_credited() -> None:
    photos = sorted(BUNDLED.glob("*.jpg"))
    assert len(photos) == 6
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 2_000_000
    credit = (BUNDLED / "CREDITS.md").read_text()
    for path in photos:
        assert f"`{path.name}`" in credit
        with Image.open(path) as photo:
            photo.load()
