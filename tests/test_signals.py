"""The signals by which a task steers its own job."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from backline import App, JobSignal, RetryLater, Snooze


@pytest.mark.parametrize("signal", [Snooze, RetryLater])
@pytest.mark.parametrize("delay", [90, 1.5, "5m", timedelta(hours=1)])
def test_a_signal_takes_a_duration(signal: Callable[[Any], JobSignal], delay: Any) -> None:
    assert signal(delay).delay == delay  # type: ignore[attr-defined]


@pytest.mark.parametrize("signal", [Snooze, RetryLater])
@pytest.mark.parametrize(
    ("delay", "error"), [("ten minutes", ValueError), (-1, ValueError), (None, TypeError)]
)
def test_what_is_no_duration_is_refused_where_it_is_written(
    signal: Callable[[Any], JobSignal], delay: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        signal(delay)


def test_a_wrong_delay_is_an_error_with_the_line_it_stands_in() -> None:
    app = App("memory://")

    @app.task(name="poll", max_attempts=1)
    def poll() -> None:
        raise Snooze("ten minutes")

    job = poll.enqueue()
    app.drain()
    app.close()

    [error] = job.refresh().errors
    assert error.kind == "ValueError"
    assert "'ten minutes' is no duration" in error.message
    assert "in poll" in error.traceback
