"""A shell in a directory of its own: runs commands as a user would, on a virtual clock."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest
from click.testing import CliRunner, Result
from msgspec import Raw

from backline.cli import main
from backline.cli.common import Surroundings
from backline.clock import Clock
from backline.job import Ack, AttemptError, Charge, JobId, JobRecord, JobRequest, Lane
from backline.states import State
from backline.store import Filter, Store
from backline.stores import open_store
from backline.stores.memory import MemoryStore
from backline.testing.clock import VirtualClock

T = TypeVar("T")
SQLITE = not os.environ.get("CLI_MEMORY")


class Shell:
    """Runs commands, and reaches the store beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = VirtualClock()
        self.file = folder / "backline.db"
        self.url = f"sqlite:///{self.file}"
        self.environ: dict[str, str] = {"BACKLINE_URL": self.url}
        self._memory = MemoryStore(clock=self.clock)
        self.on(lambda store: store.migrate())
        if not SQLITE:
            self.file.touch()

    def open_store(self, url: str, *, clock: Clock) -> Store:
        if not SQLITE and url.startswith("sqlite"):
            return self._memory
        return open_store(url, clock=clock)

    def run(
        self, *words: str, stdin: str | None = None, environ: Mapping[str, str] | None = None
    ) -> Result:
        """The outcome of `backline WORDS`."""
        around = Surroundings(
            clock=self.clock,
            open_store=self.open_store,
            environ=self.environ if environ is None else environ,
        )
        return CliRunner().invoke(main, words, input=stdin, obj=around, prog_name="backline")

    def ok(self, *words: str, stdin: str | None = None) -> str:
        """Standard output of a command that succeeds."""
        result = self.run(*words, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """The objects that a command prints with --json."""
        result = self.run(*words, "--json")
        assert result.exit_code == code, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    def on(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Do `work` on the store."""

        async def session() -> T:
            store = self.open_store(self.url, clock=self.clock)
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(session())

    def enqueue(self, count: int = 1, **fields: Any) -> list[JobId]:
        """Add jobs of the task `app.send` to `mail`, unless `fields` say otherwise."""
        given: dict[str, Any] = {"task": "app.send", "queue": "mail", **fields}
        requests = [JobRequest(id=self.clock.new_id(), **given) for _ in range(count)]

        async def add(store: Store) -> None:
            await store.enqueue([requests])

        self.on(add)
        return [request.id for request in requests]

    def lease(self, queue: str = "mail", count: int = 100) -> list[JobId]:
        """Have a worker lease jobs, and keep them."""

        async def take(store: Store) -> list[JobId]:
            taken = await store.exchange("w1", self._call(), [], {(queue, Lane.MAIN): count}, 1)
            return [job.id for job in taken.jobs]

        return self.on(take)

    def end(self, ids: list[JobId], state: Any = State.SUCCEEDED, **fields: Any) -> None:
        """Have the worker end leased jobs, dead ones with an error."""
        if state is State.DEAD:
            error = AttemptError(attempt=1, kind="app.Broken", message="no such user")
            fields = {"error": error, "charge": Charge.FAILURE, **fields}
        given = {"keep": 7 * 86_400_000_000, **fields}

        async def settle(store: Store) -> None:
            records = await store.get(ids)
            acks = [Ack(job.id, job.attempt, state, **given) for job in records if job]
            await store.exchange("w1", self._call(), acks, {}, 1)

        self.on(settle)

    def dead(self, count: int = 1, **fields: Any) -> list[JobId]:
        """Jobs in the dead-letter queue."""
        ids = self.enqueue(count, **fields)
        self.end(self.lease(fields.get("queue", "mail")), State.DEAD)
        return ids

    def jobs(self, **where: Any) -> list[JobRecord]:
        """The jobs that match, oldest first."""

        async def find(store: Store) -> list[JobRecord]:
            return (await store.find(Filter(**where), limit=10_000, oldest_first=True)).jobs

        return self.on(find)

    def states(self) -> dict[str, int]:
        """How many jobs are in each state that has any."""
        found = [job.state.value for job in self.jobs()]
        return {state: found.count(state) for state in set(found)}

    def plant(self, sql: str, *values: object) -> None:
        """Change the file behind the store's back, as no command could."""
        db = apsw.Connection(str(self.file))
        db.execute(sql, values)
        db.close()

    _calls = 0

    def _call(self) -> int:
        self._calls += 1
        return self._calls


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)


def raw(text: str) -> Raw:
    return Raw(text.encode())
