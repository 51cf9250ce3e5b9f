"""The report says what was measured, and nothing else."""

import pytest
from msgspec.structs import replace

from backline.demo import picture, report
from backline.demo.figures import Figures, percentile
from backline.demo.load import Sample

MILLI = 1_000


def test_percentiles_are_values_that_were_measured() -> None:
    values = list(range(1, 101))
    assert percentile(values, 50) == 50
    assert percentile(values, 99) == 99
    assert percentile([7], 1) == percentile([7], 99) == 7
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_both_ways_stand_side_by_side(figures: Figures) -> None:
    text = report.text(figures)
    assert figures.problems() == []
    for line in (
        ["thumbnails are made", "in the request", "through the queue"],
        ["answer to an upload, p50", "2,004 ms", "24 ms"],
        ["answer to an upload, p99", "2,009 ms", "29 ms"],
        ["errors", "0 of 10", "0 of 10"],
        ["uploads taken a second", "5", "263"],
        ["profile look-up, p50", "2,004 ms", "24 ms"],
        ["jobs lost", "0"],
        ["interrupted job running again", "after 40 ms"],
        ["its reason", "OSError: image file is truncated"],
        ["repaired, redriven, succeeded", "80 ms"],
    ):
        assert any(
            line == [cell for cell in row.strip().split("  ") if cell] for row in _rows(text)
        )
    assert "84 times sooner" in text
    assert "Every job that was accepted has been done." in text


def _rows(text: str) -> list[str]:
    """Lines with the padding between columns brought down to two blanks."""
    return ["  ".join(filter(None, map(str.strip, line.split("  ")))) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("slower", "sentence"),
    [(20, "84 times sooner"), (2_000, "as long either way"), (9_000, "4.5 times later")],
)
def test_the_sentences_follow_the_figures(figures: Figures, slower: int, sentence: str) -> None:
    answers = [replace(each, took=slower * MILLI + each.start) for each in figures.queued.answers]
    changed = replace(figures, queued=replace(figures.queued, answers=answers))
    assert sentence in " ".join(report.text(changed).split())


def test_a_lost_job_is_named_and_fails_the_run(figures: Figures) -> None:
    kill = replace(figures.kill, succeeded=3, thumbnails=15)
    changed = replace(figures, kill=kill)

    problems = changed.problems()
    assert problems[0] == "1 of 4 jobs did not succeed after the kill"
    text = report.text(changed)
    assert f"NOT AS IT SHOULD BE: {problems[0]}" in text
    assert "Every job" not in text


def test_each_way_to_go_wrong_is_a_problem(figures: Figures) -> None:
    refused = Sample(0, 5, 0, "no answer within 10 s")
    queued, kill, repair = figures.queued, figures.kill, figures.repair
    wrong = [
        replace(figures, queued=replace(queued, answers=[*queued.answers, refused])),
        replace(figures, queued=replace(queued, finished=queued.finished[1:])),
        replace(figures, inline=replace(figures.inline, finished=[])),
        replace(figures, inline=replace(figures.inline, look_ups=[])),
        replace(figures, kill=replace(kill, thumbnails=19)),
        replace(figures, kill=replace(kill, interrupted=[])),
        replace(figures, repair=replace(repair, dead_at=None)),
        replace(figures, repair=replace(repair, reason="")),
        replace(figures, repair=replace(repair, succeeded_at=None)),
        replace(figures, repair=replace(repair, thumbnails=4)),
    ]
    assert all(changed.problems() for changed in wrong)
    assert "no answer within 10 s" in wrong[0].problems()[0]


def test_users_who_give_up_inline_are_a_finding_not_a_problem(figures: Figures) -> None:
    refused = Sample(0, 10_000 * MILLI, 0, "no answer within 10 s")
    inline = replace(figures.inline, answers=[*figures.inline.answers, refused])
    changed = replace(figures, inline=inline)
    assert changed.problems() == []
    assert "1 of 11" in report.text(changed)


def test_the_picture_shows_both_ways_the_kill_and_the_repair(figures: Figures) -> None:
    drawn = picture.draw(figures)
    colors = {color for _, color in drawn.getcolors(maxcolors=2**24) or []}
    for color in (picture.INLINE, picture.QUEUED, picture.BAD, picture.GOOD, picture.PAPER):
        assert tuple(bytes.fromhex(color[1:])) in colors


def test_the_picture_can_be_drawn_when_all_went_wrong(figures: Figures) -> None:
    nothing = replace(
        figures,
        inline=replace(figures.inline, finished=[]),
        queued=replace(figures.queued, finished=[]),
        kill=replace(figures.kill, finished=[], interrupted=[], succeeded=0),
        repair=replace(
            figures.repair, started=[], dead_at=None, redriven_at=None, succeeded_at=None
        ),
    )
    assert picture.draw(nothing).size == picture.draw(figures).size
    assert report.text(nothing).count("NOT AS IT SHOULD BE") == len(nothing.problems())
