"""The whole story with few users: real processes, a real kill, a real page."""

import asyncio
import json
from pathlib import Path

import pytest
from PIL import Image

from backline.demo import main
from backline.demo.album import NoPhotographs, bundled, half, of_directory
from backline.demo.run import EXIT_OK, EXIT_USAGE, EXIT_WRONG, Demo
from backline.demo.stage import Stage, StageError, eventually
from backline.supervisor.linux import processes_with


def test_the_bundled_photographs_are_enlarged_to_a_cameras_size(tmp_path: Path) -> None:
    album = bundled(tmp_path / "camera")
    assert len(album.photos) == 6
    assert album.megapixels == pytest.approx(12, abs=0.01)
    assert album.effort > 0


def test_the_users_own_photographs_are_uploaded_as_they_are(photo: Path, tmp_path: Path) -> None:
    (photo.parent / "notes.txt").write_text("no photograph")
    album = of_directory(photo.parent, tmp_path / "camera")
    assert album.photos == [photo]
    assert album.megapixels == pytest.approx(0.48)
    assert len(half(photo)) == photo.stat().st_size // 2


def test_a_directory_without_photographs_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NoPhotographs):
        of_directory(empty, tmp_path / "camera")
    assert main(empty, tmp_path / "out", None, serve=False) == EXIT_USAGE
    assert str(empty) in capsys.readouterr().err


async def test_waiting_in_vain_says_for_what() -> None:
    async def never() -> None:
        return None

    with pytest.raises(StageError, match=r"waited 0.01 s in vain for a miracle"):
        await eventually("a miracle", never, within_s=0.01, every_s=0.001)


@pytest.mark.processes
def test_the_story_is_told_with_figures_and_leaves_no_process_behind(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):  # large enough that a kill meets a running job
        Image.effect_noise((2_400, 1_800), 90).save(photo.parent / f"large-{number}.jpg")
    photo.unlink()
    output = tmp_path / "output"
    album = of_directory(tmp_path, output / "photo-service" / "camera")

    assert asyncio.run(Demo(album, output).run(None, serve=False, users=4)) == EXIT_OK

    told = capsys.readouterr().out
    assert (output / "report.txt").read_text() in told
    assert "Every job that was accepted has been done." in told
    figures = json.loads((output / "report.json").read_bytes())
    kill, repair = figures["kill"], figures["repair"]
    assert kill["succeeded"] == kill["jobs"] >= 4
    assert all(one["succeeded"] for one in kill["interrupted"])
    assert kill["interrupted"]
    assert kill["interrupted"][0]["running_again"] < 10_000_000
    assert repair["failures"] == len(repair["started"]) == 3
    assert "truncated" in repair["reason"]
    assert len(figures["queued"]["answers"]) == len(figures["queued"]["finished"]) >= 4
    with Image.open(output / "report.png") as picture:
        assert picture.size == (1600, 1180)
    kept = {path.name for path in (output / "photo-service").iterdir()}
    assert kept >= {"jobs.db", "photos.db", "workers.log"}
    assert not kept & {"camera", "originals", "thumbnails"}
    assert not processes_with(f"PHOTOS_HOME={output / 'photo-service'}")


@pytest.mark.processes
def test_a_service_that_cannot_start_is_said_with_its_last_words(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stage, "_environment", lambda _: {"PYTHONHOME": "/nowhere"})
    assert main(photo.parent, tmp_path / "output", None, serve=False) == EXIT_WRONG
    said = capsys.readouterr().err
    assert "backline demo: the service ended with status 1" in said
    assert "/nowhere" in said or "encodings" in said
