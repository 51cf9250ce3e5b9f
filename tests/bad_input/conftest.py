"""Apps on both stores, kept for a whole module: each case brings a job of its own."""

from collections.abc import Iterator
from typing import Any

import pytest

from backline import App, JobContext


def build(url: str) -> App:
    """An app with a task for anything, and one for each kind that is checked."""
    app = App(url)

    @app.task(name="anything", max_attempts=1)
    def anything(*args: Any, **kwargs: Any) -> None:
        del args, kwargs

    @app.task(name="progressing", max_attempts=1)
    def progressing(job: JobContext) -> None:
        del job

    return app


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    url = "memory://"
    if request.param == "sqlite":
        file = tmp_path_factory.mktemp("bad_input") / "jobs.db"
        url = f"sqlite:///{file}?durability=normal"
    app = build(url)
    yield app
    app.close()
