"""A small photograph, and figures that came out as they should."""

from pathlib import Path

import pytest
from PIL import Image

from backline.demo.figures import Figures, Interrupted, Kill, Repair, Uploads
from backline.demo.load import Sample

MILLI = 1_000


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "beach.jpg"
    Image.effect_noise((800, 600), 60).convert("RGB").save(path, "JPEG")
    return path


def uploads(way: str, took: int, **changes: object) -> Uploads:
    answers = [Sample(number * MILLI, took + number * MILLI, 200) for number in range(10)]
    finished = [answer.start + answer.took for answer in answers]
    given = {"users": 5, "answers": answers, "look_ups": answers, "finished": finished} | changes
    return Uploads(way=way, **given)  # type: ignore[arg-type]


@pytest.fixture
def figures() -> Figures:
    return Figures(
        machine="2 cores",
        megapixels=12.0,
        inline=uploads("in the request", 2_000 * MILLI),
        queued=uploads("through the queue", 20 * MILLI),
        kill=Kill(
            jobs=4,
            succeeded=4,
            leases=5,
            thumbnails=20,
            pid=4711,
            killed_at=[150 * MILLI],
            interrupted=[Interrupted(job="a", running_again=40 * MILLI, succeeded=True)],
            finished=[100 * MILLI, 200 * MILLI, 300 * MILLI, 400 * MILLI],
        ),
        repair=Repair(
            job="b",
            reason="OSError: image file is truncated",
            failures=3,
            started=[10 * MILLI, 200 * MILLI, 700 * MILLI],
            dead_at=710 * MILLI,
            redriven_at=720 * MILLI,
            succeeded_at=800 * MILLI,
            thumbnails=5,
        ),
    )
