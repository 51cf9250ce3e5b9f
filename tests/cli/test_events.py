"""The line `dev` shows for each run that ended."""

from types import SimpleNamespace

import pytest
from msgspec import Raw

from backline.events import LINES_A_SECOND, EventLines
from backline.job import Ack, AttemptError, Charge, Lane, LeasedJob, Terms
from backline.states import State
from backline.testing.clock import VirtualClock
from backline.worker import Run

ID = "019b76da-a800-7427-8f7a-082f53701dec"


@pytest.fixture
def shown():
    clock, lines = VirtualClock(), []
    events = EventLines(clock, lines.append, colour=False, where=" -A shop:app")

    def show(state, task="app.hello", failures=0, **fields):
        now = clock.now()
        lease = LeasedJob(
            *(ID, 1, task, "default", Lane.MAIN, failures, 0, 0, Terms()),
            *(0, now, now, {}, (), Raw(b"[[],{}]")),
        )
        clock.advance("4ms")
        run = Run(lease, SimpleNamespace(), 0, 0, lambda report: None, clock.tick)
        run.begin(clock.tick())
        clock.advance("1.5s")
        run.busy = 1_500_000
        run.ack = Ack(ID, 1, state, **fields)
        events(run)
        return lines

    show.clock, show.events, show.lines = clock, events, lines
    return show


def told(lines):
    """The last line, without the time."""
    return lines[-1].split(" ", 1)[1]


def test_success(shown):
    lines = shown(State.SUCCEEDED, result=Raw(b'"hello"'))
    assert told(lines) == '✓ app.hello  019b76da-a800…1dec  waited 4 ms, ran 1.5 s  → "hello"\n'


ERROR = AttemptError(1, "ConnectionError", "refused\nby\x1b[31m peer")


@pytest.mark.parametrize(
    ("state", "fields", "line"),
    [
        (
            State.SCHEDULED,
            {"error": ERROR, "charge": Charge.FAILURE, "delay": 2_100_000},
            (
                "↻ app.hello  019b76da-a800…1dec  ConnectionError: refused  run 3 of 5 in 2.1 s  "
                "(backline job 019b76da-a800…1dec -A shop:app)\n"
            ),
        ),
        (
            State.DEAD,
            {"error": ERROR, "charge": Charge.FAILURE},
            (
                "✗ app.hello  019b76da-a800…1dec  ConnectionError: refused  "
                "dead after 2 of 5 failures  (backline job 019b76da-a800…1dec -A shop:app)\n"
            ),
        ),
        (State.CANCELLED, {}, "⊘ app.hello  019b76da-a800…1dec  cancelled\n"),
        (
            State.SCHEDULED,
            {"delay": 60_000_000, "charge": Charge.CLEAN},
            "☾ app.hello  019b76da-a800…1dec  snoozed for 1m\n",
        ),
        (
            State.SCHEDULED,
            {"delay": 60_000_000, "charge": Charge.CLEAN, "asleep": True},
            "☾ app.hello  019b76da-a800…1dec  asleep for 1m\n",
        ),
        (
            State.SCHEDULED,
            {"delay": 1_000_000, "charge": Charge.RELEASE},
            "? app.hello  019b76da-a800…1dec  no such task here; put back for 1 s\n",
        ),
        (State.READY, {}, "↩ app.hello  019b76da-a800…1dec  handed back\n"),
    ],
)
def test_other_ends(shown, state, fields, line):
    assert told(shown(state, failures=1, **fields)) == line


def test_names_and_results_cannot_forge_a_line(shown):
    [line] = shown(State.SUCCEEDED, task="evil\n12:00:00 ✓ x\x1b[2J", result=Raw(b'"\xc2\x9b2J"'))
    assert line[:-1].isprintable()
    assert line.endswith("\n")


@pytest.fixture
def flood(shown):
    """A hundred and more successes in one second, of which 51 were left out."""
    shown(State.SUCCEEDED)
    run = SimpleNamespace(
        lease=SimpleNamespace(id=ID, task="x", due=0, failures=0, terms=Terms()),
        ack=Ack(ID, 1, State.SUCCEEDED),
        started_at=0,
        busy=0,
    )
    for _ in range(LINES_A_SECOND + 50):
        shown.events(run)
    shown.run = run
    return shown


def test_a_flood_of_successes_is_counted_and_failures_are_shown(flood):
    shown, run = flood, flood.run
    run.ack = Ack(ID, 1, State.CANCELLED)
    shown.events(run)
    assert len(shown.lines) == LINES_A_SECOND + 1
    shown.clock.advance("1s")
    run.ack = Ack(ID, 1, State.SUCCEEDED)
    shown.events(run)
    assert shown.lines[-2].strip() == "… and 51 more that succeeded"


def test_what_was_left_out_of_a_flood_does_not_wait_for_the_next_job(flood):
    flood.events.look([])
    assert len(flood.lines) == LINES_A_SECOND
    flood.clock.advance("1s")
    flood.events.look([])
    flood.events.look([])
    assert [line.strip() for line in flood.lines[LINES_A_SECOND:]] == [
        "… and 51 more that succeeded"
    ]


def test_what_was_left_out_of_a_flood_is_told_at_the_end(flood):
    flood.events.end()
    flood.events.end()
    assert [line.strip() for line in flood.lines[LINES_A_SECOND:]] == [
        "… and 51 more that succeeded"
    ]


def test_a_run_that_takes_a_while_is_shown_when_it_has_begun(shown):
    shown(State.SUCCEEDED)
    clock, lines = shown.clock, shown.lines
    lease = SimpleNamespace(
        id=ID, attempt=2, task="app.slow", due=clock.now(), failures=1, terms=Terms()
    )
    clock.advance("4ms")
    run = SimpleNamespace(lease=lease, ack=None, started_at=clock.tick())
    clock.advance("100ms")
    shown.events.look([run])
    assert len(lines) == 1
    clock.advance("200ms")
    shown.events.look([run])
    shown.events.look([run])
    assert len(lines) == 2
    assert told(lines) == "▶ app.slow   019b76da-a800…1dec  run 2 of 5, waited 4 ms\n"
    run.ack = Ack(ID, 2, State.SUCCEEDED)
    shown.events.look([run])
    assert len(lines) == 2


def test_colour_is_only_in_the_mark(shown):
    shown.events._colour = True
    lines = shown(State.SUCCEEDED)
    assert "\x1b[32m✓\x1b[0m" in lines[-1]
