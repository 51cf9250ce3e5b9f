"""How many processes there are to be: on virtual time, over loads of every shape."""

import math
from dataclasses import replace
from typing import Any

import pytest
from tests.scaling import LOADS, Load, Simulation, main

from backline import autoscale
from backline.autoscale import WINDOW, Decision, Meter, Past, Rules, Sample, decide
from backline.job import SECOND

MOST_MOVES = {
    "steady": 3,
    "step": 5,
    "step down": 12,
    "bursts": 8,
    "diurnal": 20,
    "sawtooth": 2,
    "square": 8,
    "dead bottleneck": 5,
    "stall": 12,
    "outage": 9,
    "clock steps": 3,
    "long jobs": 8,
    "to zero": 7,
    "no memory": 0,
    "two supervisors": 8,
}
BY_NAME = {load.name: load for load in LOADS}
RULES = Rules(low=1, high=8)
CALM = Sample(
    tick=0,
    processes=4,
    working=4,
    concurrency=10,
    busy=0.0,
    done=0.0,
    service=0.1,
    ready=0,
    arrivals=0.0,
)


def simulated(load: Load | str, seed: int = 1) -> Simulation:
    return Simulation(BY_NAME[load] if isinstance(load, str) else load, seed).run()


def flaps(simulation: Simulation) -> list[str]:
    """Steps up within the window after a step down, though the load had not risen since."""
    found = []
    for crew in simulation.crews:
        downs = [move for move in crew.moves if move.after < move.before]
        for up in crew.moves:
            for down in downs:
                soon = 0 < up.at - down.at < WINDOW / SECOND
                if up.after > up.before and soon and up.offered <= down.offered:
                    found.append(f"{down} {up}")
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.name)
def test_it_moves_seldom_and_never_to_and_fro(load: Load, seed: int) -> None:
    simulation = simulated(load, seed)
    assert len(simulation.moves) <= MOST_MOVES[load.name]
    assert flaps(simulation) == []
    for move in simulation.moves:
        assert load.low <= move.after <= load.high
        assert move.after >= move.before - 1
        assert move.after <= max(1, 2 * move.before)


@pytest.mark.parametrize("name", ["steady", "sawtooth", "diurnal", "long jobs", "clock steps"])
def test_jobs_start_within_the_target_wait(name: str) -> None:
    assert max(wait for _, wait in simulated(name).waits) < 5


def test_after_a_step_jobs_start_in_time_soon_and_from_then_on() -> None:
    waits = simulated("step").waits
    assert max(wait for _, wait in waits) < 5
    assert max(wait for at, wait in waits if at > 90) < 1


def test_where_more_does_not_help_it_soon_stops_adding() -> None:
    """A backlog grows all the time, but the database does 40 a second and no more."""
    moves = simulated("dead bottleneck").moves
    assert max(move.after for move in moves) <= 4
    assert [move.at for move in moves if 10 < move.at < 300] == []


def test_a_bottleneck_that_goes_away_is_noticed() -> None:
    load = replace(
        BY_NAME["dead bottleneck"], bottleneck=lambda second: 40 if second < 200 else math.inf
    )
    simulation = simulated(load)
    assert any(200 < move.at < 215 and move.after > move.before for move in simulation.moves)
    assert simulation.ready < 100


def test_nothing_moves_while_the_store_is_away_nor_on_what_was_before() -> None:
    simulation = simulated("outage")
    assert not [move for move in simulation.moves if 300 <= move.at < 420]
    downs = [move.at for move in simulation.moves if move.after < move.before]
    assert min(downs) >= 420 + WINDOW / SECOND


def test_two_supervisors_share_the_load() -> None:
    simulation = simulated("two supervisors")
    assert 5 <= simulation.processes <= 8  # 40 slots are busy
    assert max(wait for at, wait in simulation.waits if at > 90) < 1


def test_to_zero_and_back_at_the_first_job() -> None:
    simulation = simulated("to zero")
    ups = [move for move in simulation.moves if (move.before, move.after) == (0, 1)]
    assert [move.at for move in ups] == [1_200, 2_400, 3_600]
    assert max(wait for _, wait in simulation.waits) < 3


# Planted bugs.


def test_without_hysteresis_it_would_flap(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CALM": autoscale.BUSY, "WINDOW": 0, "STEP": 0}.items():
        monkeypatch.setattr(autoscale, name, value)
    simulation = simulated("sawtooth")
    assert len(simulation.moves) > 5 * MOST_MOVES["sawtooth"]
    assert flaps(simulation)


def test_without_the_window_bursts_would_make_it_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoscale, "WINDOW", 30 * SECOND)
    assert len(simulated("bursts").moves) > 3 * MOST_MOVES["bursts"]


def test_without_judging_a_dead_bottleneck_would_get_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoscale, "GAIN", -math.inf)
    assert max(move.after for move in simulated("dead bottleneck").moves) == 8


# One decision.


def after(samples: list[Sample], rules: Rules = RULES) -> list[Decision]:
    """The decisions on these samples, as if nobody obeyed them."""
    past, decisions = Past(), []
    for sample in samples:
        decisions.append(decide(rules, past, sample))
        past = decisions[-1].past
    return decisions


def minutes(count: float, sample: Sample, **fields: Any) -> list[Sample]:
    """A sample a second."""
    return [
        replace(sample, tick=sample.tick + n * SECOND, **fields) for n in range(int(count * 60) + 1)
    ]


def test_it_goes_down_by_one_after_the_window_and_not_before() -> None:
    *early, last = after(minutes(5, CALM))
    assert {each.processes for each in early} == {4}
    assert last.processes == 3
    assert "5 minutes" in last.why


def test_a_busy_moment_starts_the_window_anew() -> None:
    samples = minutes(5, CALM)
    samples[100] = replace(samples[100], busy=30.0)
    assert {each.processes for each in after(samples)} == {4}


def test_it_never_goes_below_what_runs() -> None:
    """Four long jobs, and one slot in each process."""
    decisions = after(minutes(30, CALM, busy=4.0, concurrency=1))
    assert {each.processes for each in decisions} == {4}


@pytest.mark.parametrize(
    "fields",
    [{"settled": False}, {"ready": 2_000}, {"processes": 1, "working": 1}],
    ids=["replacing", "jobs wait", "at its least"],
)
def test_it_does_not_go_down(fields: dict[str, Any]) -> None:
    assert min(d.processes for d in after(minutes(10, CALM, **fields))) >= CALM.processes or (
        fields.get("processes") == 1
    )


def test_a_gap_forgets_what_was_before() -> None:
    samples = minutes(4, CALM)
    later = replace(CALM, tick=CALM.tick + 300 * SECOND)
    assert {each.processes for each in after([*samples, *minutes(4, later)])} == {4}


def test_ticks_of_another_boot_are_a_gap() -> None:
    later = replace(CALM, tick=10**12)
    assert {each.processes for each in after([*minutes(4, later), *minutes(4, CALM)])} == {4}


HURRY = replace(CALM, processes=2, working=2, busy=20.0, done=200.0, ready=1_000, arrivals=400.0)


def test_up_at_once_and_to_twice_as_many_at_most() -> None:
    [decision] = after([HURRY])
    assert decision.processes == 4


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"working": 1}, "do not work yet"),
        ({"room": 0}, "no memory"),
        ({"room": -3}, "no memory"),
        ({"ready": 0, "busy": 9.0}, "as are needed"),
        ({"processes": 8, "working": 8, "busy": 80.0}, "as are needed"),
    ],
)
def test_not_up(fields: dict[str, Any], why: str) -> None:
    [decision] = after([replace(HURRY, **fields)])
    assert decision.processes == fields.get("processes", 2)
    assert why in decision.why


def test_memory_allows_for_as_many_as_fit() -> None:
    assert after([replace(HURRY, room=1)])[0].processes == 3


def test_the_first_is_started_whatever_the_memory() -> None:
    """None can work otherwise, and nobody knows what one takes."""
    none = replace(HURRY, processes=0, working=0, busy=0.0, room=0)
    assert after([none], Rules(low=0, high=8))[0].processes == 1


def test_with_none_others_that_are_idle_take_it_unless_they_do_not() -> None:
    rules = Rules(low=0, high=8)
    none = replace(
        CALM, processes=0, working=0, service=None, ready=3, elsewhere=10, idle_elsewhere=10
    )
    assert after([none], rules)[0].processes == 0
    assert after([replace(none, oldest=6 * SECOND)], rules)[0].processes == 1
    assert after([replace(none, idle_elsewhere=2)], rules)[0].processes == 1


def test_what_others_do_not_come_to_in_time_is_ours() -> None:
    """Some service has a worker of a thousand slots, and its loop is blocked."""
    sample = replace(HURRY, ready=2_000, elsewhere=1_000)
    assert after([sample])[0].processes == 3
    assert after([replace(sample, oldest=6 * SECOND)])[0].processes == 4


def test_the_bounds_hold_whatever_there_is() -> None:
    assert after([replace(CALM, processes=0, working=0)])[0].processes == 1
    assert after([replace(CALM, processes=9, working=9)])[0].processes == 8


@pytest.mark.parametrize("damaged", [1e18, -1e18])
def test_damaged_counts_stop_nothing(damaged: float) -> None:
    sample = replace(HURRY, ready=int(damaged), arrivals=damaged)
    assert 1 <= after([sample])[0].processes <= 8


def test_one_long_job_calls_for_one_slot() -> None:
    """However much sooner than its own length it was to be done."""
    sample = replace(CALM, processes=1, working=1, busy=9.0, service=600.0, ready=1)
    assert after([sample])[0].processes == 1
    assert after([replace(sample, busy=10.0)])[0].processes == 2


def test_the_figures_are_told() -> None:
    sample = replace(HURRY, oldest=3_200_000, elsewhere=20)
    assert autoscale.figures(RULES, sample) == (
        "1,000 ready, the oldest for 3.2 s of 5 s; 400/s arrive, 50% of it others', "
        "200/s done, 100 ms each; 20.0 of 20 slots busy"
    )


# The meter.


def test_the_meter_knows_how_long_jobs_take() -> None:
    meter = Meter()
    for look in range(400):
        meter.look(look * SECOND // 4, 5, 1)
    assert meter.busy == pytest.approx(5, rel=0.05)
    assert meter.done == pytest.approx(4, rel=0.05)
    assert meter.service == pytest.approx(1.25, rel=0.3)


def test_the_meter_knows_of_long_jobs_what_was_seen() -> None:
    meter = Meter()
    for second in range(31):
        meter.look(second * SECOND, 4, 0)
    assert meter.service == pytest.approx(30)
    assert meter.done == 0


def test_the_meter_remembers_through_an_idle_night() -> None:
    meter = Meter()
    assert meter.service is None
    for second in range(60):
        meter.look(second * SECOND, 1, 2)
    known = meter.service
    for second in range(60, 4_000):
        meter.look(second * SECOND, 0, 0)
    assert meter.service == pytest.approx(known, rel=0.2)
    assert meter.busy == 0.0


def test_a_pause_of_the_machine_counts_as_no_work() -> None:
    meter = Meter()
    meter.look(0, 1, 0)
    meter.look(SECOND, 1, 1)
    meter.look(3_600 * SECOND, 1, 1)
    assert meter.service is not None
    assert meter.service < 20


def test_the_table_can_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    main(LOADS[:1])
    assert "steady" in capsys.readouterr().out
