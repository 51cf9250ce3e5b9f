"""What a worker can be told, and what it refuses before it starts."""

from typing import Any

import pytest

from backline import App, ConfigError
from backline.job import SECOND
from backline.worker import WorkerSettings

WRONG = [
    ({"concurrency": 0}, "concurrency is an int from 1, not 0"),
    ({"concurrency": "10"}, "concurrency is an int from 1, not '10'"),
    ({"concurrency": 2.5}, "concurrency is an int from 1, not 2.5"),
    ({"concurrency": True}, "concurrency is an int from 1, not True"),
    ({"max_prefetch": -5}, "max_prefetch is an int from 0, not -5"),
    ({"max_prefetch": None}, "max_prefetch is an int from 0, not None"),
]


@pytest.mark.parametrize(("given", "says"), WRONG)
def test_a_worker_refuses_numbers_that_cannot_work(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^{says}$"):
        WorkerSettings(name="w", **given)


@pytest.mark.parametrize("name", ["grace", "refusal", "poll"])
def test_a_worker_refuses_negative_times(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is no time before 0, not -1"):
        WorkerSettings(name="w", **{name: -1})


def test_a_worker_takes_what_its_limits_allow() -> None:
    settings = WorkerSettings(name="w", concurrency=1, max_prefetch=0, lease=SECOND, grace=0)
    assert settings.most_held == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        *WRONG,
        ({"lease": "soon"}, "lease: 'soon' is no duration"),
        ({"lease": None}, "lease: seconds, a timedelta or a text"),
        ({"lease": "10ms"}, "a lease of 0.01 s"),
        ({"grace": -1}, "grace: a duration is between 0"),
        ({"queues": 5}, "queues are written mail,default=3, not 5"),
        ({"queues": ""}, "queues are written mail,default=3, not ''"),
        ({"queues": {}}, "a worker serves at least one queue"),
        ({"queues": {"mail": 0}}, "a worker serves at least one queue, weights from 1"),
        ({"queues": {"mail": "3"}}, "the weight of queue 'mail' is an int"),
    ],
)
async def test_an_embedded_worker_is_refused_before_it_starts(
    given: dict[str, Any], says: str
) -> None:
    app = App("memory://")
    with pytest.raises(ConfigError) as caught:
        async with app.worker(**given):
            pass
    await app.aclose()
    assert str(caught.value).startswith(says)
