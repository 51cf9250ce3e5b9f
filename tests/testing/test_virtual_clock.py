"""The virtual clock moves only when told, and twice the same for one seed."""

from datetime import timedelta

import pytest

from backline.clock import Clock
from backline.job import SECOND
from backline.testing.clock import START, VirtualClock


def test_it_is_a_clock_and_stands_still() -> None:
    clock: Clock = VirtualClock()
    assert clock.now() == START == clock.now()
    assert clock.tick() == clock.tick() > 0


def test_advance_moves_the_wall_and_the_ticks() -> None:
    clock = VirtualClock()
    wall, tick = clock.now(), clock.tick()
    clock.advance("1m30s")
    assert (clock.now() - wall, clock.tick() - tick) == (90 * SECOND, 90 * SECOND)
    with pytest.raises(ValueError, match="duration"):
        clock.advance(-1)


@pytest.mark.parametrize("by", [3600.0, -3600.0, timedelta(hours=-1)])
def test_a_step_moves_the_wall_alone(by: float | timedelta) -> None:
    clock = VirtualClock()
    wall, tick = clock.now(), clock.tick()
    clock.step_wall(by)
    assert abs(clock.now() - wall) == 3600 * SECOND
    assert clock.tick() == tick


def test_a_reboot_begins_the_ticks_anew_under_another_name() -> None:
    clock = VirtualClock()
    clock.advance(60)
    boot, wall, elapsed = clock.boot(), clock.now(), clock.elapsed
    clock.reboot()
    assert (clock.tick(), clock.now(), clock.elapsed) == (0, wall, elapsed)
    assert clock.boot() != boot
    clock.advance(2)
    assert clock.tick() == 2 * SECOND


def test_ids_grow_also_when_the_wall_steps_back_and_repeat_by_seed() -> None:
    clock, again, other = VirtualClock(7), VirtualClock(7), VirtualClock(8)
    ids = [clock.new_id() for _ in range(50)]
    clock.step_wall(-86_400)
    ids += [clock.new_id() for _ in range(50)]
    assert ids == sorted(set(ids))
    assert [again.new_id() for _ in range(50)] == ids[:50]
    assert other.new_id() != ids[0]
    assert clock.rng.random() == again.rng.random() != other.rng.random()


def test_the_executor_runs_each_call_at_once() -> None:
    ran: list[int] = []
    with VirtualClock().executor("writer") as executor:
        future = executor.submit(ran.append, 1)
        assert ran == [1]
        assert future.done()
        assert list(executor.map(str, [1, 2])) == ["1", "2"]
        failed = executor.submit(int, "no number")
    with pytest.raises(ValueError, match="no number"):
        failed.result()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(ran.append, 2)


def test_a_thread_is_refused_with_its_name() -> None:
    with pytest.raises(RuntimeError, match="'heartbeat' cannot start"):
        VirtualClock().thread("heartbeat", lambda: None)
