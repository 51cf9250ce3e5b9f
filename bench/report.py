"""What a benchmark found, and how it is shown."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

import msgspec


class Bar(msgspec.Struct, frozen=True):
    """What must be reached: at least so much, or at most."""

    limit: float
    unit: str
    """`x` and `%` are of what it is compared to."""
    at_most: bool = False

    def passed(self, value: float) -> bool:
        """Whether `value` reaches it."""
        return value <= self.limit if self.at_most else value >= self.limit

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.limit:g}{_spaced(self.unit)}"


class Finding(msgspec.Struct, frozen=True):
    """One row of the table."""

    what: str
    ours: str
    beside: str
    """What it is compared to, with its figure."""
    value: float
    """What the bar is held against: a ratio, or the figure itself."""
    unit: str
    bar: Bar | None
    """None: for comparison only."""
    note: str = ""

    @property
    def mark(self) -> str:
        """`pass` or `FAIL`; empty for what has no bar."""
        if self.bar is None:
            return ""
        return "pass" if self.bar.passed(self.value) else "FAIL"

    @property
    def failed(self) -> bool:
        """There is a bar, and it is missed."""
        return self.mark == "FAIL"

    @property
    def shown(self) -> str:
        """The value with its unit."""
        return f"{self.value:.3g}{_spaced(self.unit)}"


class Samples:
    """Repeated measurements of the same thing, so many a second."""

    def __init__(self, unit: str = "/s") -> None:
        self.values: list[float] = []
        self._unit = unit

    def add(self, value: float) -> None:
        """One more."""
        self.values.append(value)

    @property
    def median(self) -> float:
        """The one in the middle."""
        return median(self.values)

    @property
    def spread(self) -> str:
        """From the least to the most."""
        return f"{figure(min(self.values))} to {figure(max(self.values))}"

    def __str__(self) -> str:
        return f"{figure(self.median)} {self._unit}"


def rated(
    what: str, ours: Samples, name: str, theirs: Samples, bar: Bar | None = None, note: str = ""
) -> Finding:
    """Our median as a multiple, or (without a bar too) as a percentage, of theirs."""
    unit = "%" if bar is None else bar.unit
    ratio = ours.median / theirs.median * (100 if unit == "%" else 1)
    spreads = f"ours {ours.spread}, {name} {theirs.spread}"
    said = f"{note}; {spreads}" if note else spreads
    return Finding(what, str(ours), f"{name} {theirs}", ratio, unit, bar, said)


def absolute(what: str, value: float, bar: Bar, note: str = "", beside: str = "") -> Finding:
    """A figure that has to reach a bar by itself."""
    ours = f"{value:.3g}{_spaced(bar.unit)}"
    return Finding(what, ours, beside, value, bar.unit, bar, note)


def figure(value: float) -> str:
    """A number as people read it."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


HEAD: Final = ("what", "ours", "beside", "reached", "bar", "")


def text(findings: Sequence[Finding]) -> str:
    """The findings of a benchmark, for a terminal."""
    lines: list[str] = []
    for found in findings:
        bar = "" if found.bar is None else f"  (bar {found.bar})"
        lines.append(f"  {found.mark:4}  {found.what}: {found.shown}{bar}")
        if found.beside:
            lines.append(f"        {found.ours}, {found.beside}")
        if found.note:
            lines.append(f"        {found.note}")
    return "\n".join(lines)


def markdown(facts: Mapping[str, str], findings: Sequence[Finding]) -> str:
    """Everything, as the page that is kept."""
    rows = [HEAD, tuple("---" for _ in HEAD), *(_cells(found) for found in findings)]
    notes = [f"- {found.what}: {found.note}" for found in findings if found.note]
    return "\n".join(
        [
            "# What was measured",
            "",
            "Written by `python -m bench --markdown bench/RESULTS.md`. Medians of several",
            "rounds, each round measuring ours and what stands beside it in turn.",
            "",
            *(f"- {name}: {fact}" for name, fact in facts.items()),
            "",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            "Spread and details:",
            "",
            *notes,
            "",
        ]
    )


def _cells(found: Finding) -> tuple[str, ...]:
    bar = "" if found.bar is None else str(found.bar)
    return (found.what, found.ours, found.beside, found.shown, bar, found.mark)


def _spaced(unit: str) -> str:
    return unit if unit in {"x", "%"} else f" {unit}"
