"""A shop that takes orders and ships them, each in a transaction, and dies where it is told.

shop.py FOLDER live POINT COUNT   orders and works, and ends at the COUNT-th POINT at once
shop.py FOLDER recover            works until nothing is left, on virtual time
shop.py FOLDER audit              prints what is there, as JSON
"""

import asyncio
import json
import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from backline import App, JobContext, State
from backline.clock import SYSTEM_CLOCK, Clock
from backline.faults import fault, hooked
from backline.job import Ack, Micros, WorkerName
from backline.store import Demand, Exchange, Filter
from backline.stores import open_store
from backline.testing.clock import VirtualClock
from backline.testing.loop import run
from backline.testing.wrapper import StoreWrapper

ORDERS = 20
ROUNDS = 4


class AckFaults(StoreWrapper):
    """A store with a fault point before and after outcomes are recorded."""

    async def exchange(
        self, worker: WorkerName, call: int, acks: Sequence[Ack], demand: Demand, ttl: Micros
    ) -> Exchange:
        if acks:
            fault("ack.before")
        answer = await super().exchange(worker, call, acks, demand, ttl)
        if acks:
            fault("ack.after")
        return answer


class Shop:
    """The service, its database, its app."""

    def __init__(self, folder: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self.file = folder / "business.db"
        store = AckFaults(open_store(f"sqlite:///{folder / 'jobs.db'}", clock=clock))
        self.app = App(store=store, clock=clock)
        outbox = self.app.outbox(f"sqlite:///{self.file}")
        self.engine = sa.create_engine(f"sqlite:///{self.file}")
        if not self.file.exists():
            outbox.migrate()
            with closing(sqlite3.connect(self.file)) as connection:
                connection.execute("create table orders (n integer primary key)")
                connection.execute("create table shipped (n integer, attempt integer)")

        @self.app.task(name="shop.ship")
        async def ship(job: JobContext, n: int) -> int | None:
            with closing(sqlite3.connect(self.file)) as connection, connection:
                connection.execute("insert into shipped values (?, ?)", (n, job.attempt))
                job.complete(within=connection, result=1_000 + n)
                fault("effect.before_commit")
            fault("effect.after_commit")
            return None

        self.ship = ship

    def order(self, n: int) -> None:
        """Take an order; three of ten are rolled back."""
        with self.engine.connect() as connection:
            connection.execute(sa.text("insert into orders values (:n)"), {"n": n})
            self.ship.using(within=connection).enqueue(n)
            fault("business.before_commit")
            if n % 10 < 3:
                connection.rollback()
            else:
                connection.commit()
            fault("business.after_commit")

    async def live(self) -> None:
        """Take orders and ship them, a few at a time."""
        [(taken,)] = self.read("select coalesce(max(n), -1) + 1 from orders")
        first = taken + -taken % 10
        for start in range(first, first + ROUNDS * ORDERS, ORDERS):
            for n in range(start, start + ORDERS):
                self.order(n)
            await self.app.adrain()

    async def recover(self) -> None:
        """Work until every order that was committed is dealt with."""
        async with self.app.worker():
            while not await self.settled():  # noqa: ASYNC110 - on virtual time
                await asyncio.sleep(1)  # leases end, relays and reapers come by

    async def settled(self) -> bool:
        """Whether nothing is left to do."""
        [(waiting,)] = self.read("select count(*) from backline_outbox")
        queues = await self.app.store.stats()
        left = sum(q.counts[State.RUNNING] + q.depth for q in queues)
        return not waiting and not left

    async def audit(self) -> dict[str, object]:
        """Everything that must agree."""
        page = await self.app.store.find(Filter(), limit=10_000, oldest_first=True)
        assert page.after is None
        return {
            "orders": [n for (n,) in self.read("select n from orders order by n")],
            "shipped": self.read("select n, attempt from shipped order by n"),
            "completed": [i for (i,) in self.read("select id from backline_inbox order by id")],
            "set_aside": self.read("select id, error from backline_outbox"),
            "jobs": [
                {
                    "id": job.id,
                    "n": json.loads(bytes(job.payload))[0][0],
                    "state": job.state,
                    "attempt": job.attempt,
                    "result": None if job.result is None else json.loads(bytes(job.result)),
                }
                for job in page.jobs
            ],
        }

    def read(self, sql: str) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(self.file)) as connection:
            return connection.execute(sql).fetchall()


def main(folder: str, command: str, *rest: str) -> None:
    if command == "live":
        [point, count] = rest
        left = [int(count)]

        def die(reached: str) -> None:
            left[0] -= reached == point
            if not left[0]:
                os._exit(9)

        with hooked(die):
            asyncio.run(Shop(Path(folder)).live())
    elif command == "recover":
        # Another boot, as far as leases are concerned: all of them are over.
        clock = VirtualClock(now=SYSTEM_CLOCK.now())
        run(Shop(Path(folder), clock).recover(), clock=clock)
    else:
        print(json.dumps(asyncio.run(Shop(Path(folder)).audit())))


if __name__ == "__main__":
    main(*sys.argv[1:])
