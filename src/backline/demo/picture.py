"""The story in one picture."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from backline.demo.figures import Figures, Kill, Repair, Uploads
from backline.demo.report import millis, seconds
from backline.demo.thumbnails import SIZES
from backline.job import SECOND, Micros

_WIDTH: Final = 1600
_HEIGHT: Final = 1180
_SHARP: Final = 2
"""Drawn this much larger and scaled down: smooth edges."""
_MARGIN: Final = 70

PAPER: Final = "#ffffff"
INK: Final = "#1a2027"
SOFT: Final = "#66727e"
LINE: Final = "#dfe4e8"
INLINE: Final = "#d9622b"
QUEUED: Final = "#2456c8"
BAD: Final = "#c02b2b"
GOOD: Final = "#1a7f4b"


class Box(NamedTuple):
    """A part of the picture: its edges."""

    left: int
    top: int
    right: int
    bottom: int


class Pen:
    """Draws in the picture's own units, whatever its sharpness."""

    def __init__(self) -> None:
        self._image = Image.new("RGB", (_WIDTH * _SHARP, _HEIGHT * _SHARP), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._fonts: dict[int, ImageFont.FreeTypeFont | ImageFont.ImageFont] = {}

    def text(
        self, x: float, y: float, text: str, size: int = 20, color: str = INK, anchor: str = "ls"
    ) -> None:
        """Write `text` with its baseline at y; `anchor` as Pillow names it."""
        font = self._fonts.setdefault(size, ImageFont.load_default(size * _SHARP))
        self._draw.text((x * _SHARP, y * _SHARP), text, color, font, anchor)

    def width(self, text: str, size: int) -> float:
        """How wide `text` will be."""
        font = self._fonts.setdefault(size, ImageFont.load_default(size * _SHARP))
        return font.getlength(text) / _SHARP

    def line(self, points: Sequence[tuple[float, float]], color: str, width: float = 1) -> None:
        """A line through all points."""
        scaled = [(x * _SHARP, y * _SHARP) for x, y in points]
        self._draw.line(scaled, color, round(width * _SHARP), joint="curve")

    def dot(self, x: float, y: float, color: str, radius: float = 4) -> None:
        """A filled circle around a point."""
        self._draw.circle((x * _SHARP, y * _SHARP), radius * _SHARP, color)

    def bar(self, box: tuple[float, float, float, float], color: str) -> None:
        """A filled rectangle: left, top, right, bottom."""
        self._draw.rectangle([edge * _SHARP for edge in box], color)

    def finished(self) -> Image.Image:
        """The picture."""
        return self._image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)


class Scale:
    """Where a value lies between two edges, and round values to mark it by."""

    def __init__(self, most: Micros, start: float, end: float) -> None:
        self._most = max(most, 1)
        self._start, self._end = start, end

    def __call__(self, value: Micros) -> float:
        """The place of `value`."""
        return self._start + (self._end - self._start) * value / self._most

    def marks(self, about: int = 6) -> list[Micros]:
        """Round values from 0 up, about so many."""
        steps = [n * 10**power for power in range(3, 10) for n in (1, 2, 5)]
        step = next((step for step in steps if self._most / step <= about), self._most)
        return list(range(0, self._most + 1, step))


def draw(figures: Figures) -> Image.Image:
    """The picture of what was measured."""
    pen = Pen()
    pen.text(_MARGIN, 62, "Photographs in, thumbnails out", 34)
    pen.text(
        _MARGIN,
        98,
        f"{len(figures.queued.answers)} uploads by {figures.queued.users} users at once, "
        f"{figures.megapixels:.0f} megapixels, {len(SIZES)} thumbnails each; {figures.machine}",
        19,
        SOFT,
    )
    _uploads(pen, Box(_MARGIN + 40, 190, 1130, 520), figures.inline, figures.queued)
    _summary(pen, 1185, 190, figures)
    _kill(pen, Box(_MARGIN + 40, 670, _WIDTH - _MARGIN, 880), figures.kill)
    _repair(pen, Box(_MARGIN + 40, 1030, _WIDTH - _MARGIN, 1090), figures.repair)
    return pen.finished()


def _title(pen: Pen, box: Box, title: str) -> None:
    pen.text(_MARGIN, box.top - 40, title, 23)


def _time_axis(pen: Pen, box: Box, across: Scale) -> None:
    for mark in across.marks(10):
        pen.text(across(mark), box.bottom + 25, f"{mark / SECOND:g} s", 16, SOFT, "ms")
    pen.line([(box.left, box.bottom), (box.right, box.bottom)], SOFT, 1.5)


def _height(pen: Pen, box: Box, y: float, label: str) -> None:
    pen.line([(box.left, y), (box.right, y)], LINE)
    pen.text(box.left - 10, y + 6, label, 16, SOFT, "rs")


def _uploads(pen: Pen, box: Box, inline: Uploads, queued: Uploads) -> None:
    _title(pen, box, "1  How long each upload waited for its answer, by when it was sent")
    samples = inline.answers + queued.answers
    across = Scale(max(sample.start for sample in samples), box.left + 8, box.right)
    up = Scale(max(sample.took for sample in samples), box.bottom, box.top)
    for mark in up.marks():
        _height(pen, box, up(mark), f"{mark / SECOND:g} s")
    _time_axis(pen, box, across)
    for side, color in ((inline, INLINE), (queued, QUEUED)):
        for sample in side.answers:
            x, y = across(sample.start), up(sample.took)
            pen.dot(x, y, color if sample.ok else BAD)


def _summary(pen: Pen, left: int, top: int, figures: Figures) -> None:
    for side, color in ((figures.inline, INLINE), (figures.queued, QUEUED)):
        pen.dot(left + 6, top - 7, color, 7)
        pen.text(left + 24, top, side.way, 21, color)
        pen.text(left + 24, top + 46, millis(side.response(50)), 38)
        pen.text(
            left + 24, top + 72, f"p50 of the answer, p99 {millis(side.response(99))}", 17, SOFT
        )
        made = seconds(max(side.finished)) if side.finished else "-"
        lines = (
            f"errors: {side.failed} of {len(side.answers)}",
            f"thumbnails all made after {made}",
            f"uploads taken a second: {side.rate:,.0f}",
        )
        for number, line in enumerate(lines):
            pen.text(left + 24, top + 97 + 24 * number, line, 17, SOFT)
        top += 185


def _kill(pen: Pen, box: Box, kill: Kill) -> None:
    _title(pen, box, f"2  {kill.jobs} jobs, a worker killed with SIGKILL: {kill.lost} lost")
    times = sorted(kill.finished)
    across = Scale(max([*times, *kill.killed_at], default=1), box.left + 8, box.right - 60)
    up = Scale(kill.jobs, box.bottom, box.top)
    for share in (0, kill.jobs // 2, kill.jobs):
        _height(pen, box, up(share), str(share))
    _time_axis(pen, box, across)
    steps = [(float(across(0)), up(0))]
    for done, time in enumerate(times, start=1):
        steps += [(across(time), up(done - 1)), (across(time), up(done))]
    pen.line(steps, QUEUED, 3)
    pen.text(steps[-1][0] + 8, steps[-1][1] + 7, f"{kill.succeeded} done", 17, QUEUED)
    for number, moment in enumerate(kill.killed_at):
        pen.line([(across(moment), box.top - 26), (across(moment), box.bottom)], BAD, 2)
        if not number:
            label = f"kill -9 {kill.pid}"
            for one in kill.interrupted[:1]:
                label += f"; the job it was running ran again {millis(one.running_again)} later"
            room = box.right - across(moment) > pen.width(label, 17) + 10
            x, anchor = (across(moment) + 8, "ls") if room else (across(moment) - 8, "rs")
            pen.text(x, box.top - 14, label, 17, BAD, anchor)


def _repair(pen: Pen, box: Box, repair: Repair) -> None:
    _title(pen, box, f"3  A corrupt photograph: {repair.reason}")
    end = max(repair.succeeded_at or 0, repair.redriven_at or 0, repair.dead_at or 0, 1)
    across = Scale(end, box.left + 8, box.right - 110)
    middle = (box.top + box.bottom) / 2
    _time_axis(pen, box, across)
    spans = (
        (0, repair.dead_at, SOFT),
        (repair.dead_at, repair.redriven_at, BAD),
        (repair.redriven_at, repair.succeeded_at, GOOD),
    )
    for start, stop, color in spans:
        if start is not None and stop is not None:
            pen.line([(across(start), middle), (across(stop), middle)], color, 6)
    for number, begun in enumerate(repair.started, start=1):
        pen.dot(across(begun), middle, INK, 8)
        pen.text(across(begun), middle - 16, f"try {number}", 16, INK, "ms")
    marks = (
        (repair.dead_at, "dead", BAD),
        (repair.redriven_at, "file replaced, redriven", GOOD),
        (repair.succeeded_at, "succeeded", GOOD),
    )
    for row, (moment, label, color) in enumerate(marks):
        if moment is not None:
            pen.dot(across(moment), middle, color, 9)
            pen.text(across(moment) + 12, middle + (20 if row % 2 else -16), label, 16, color)
