"""`backline drain`."""

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from backline.app import App
from backline.app.working import weights
from backline.cli.bulk import progress_bar
from backline.cli.common import ExitCode
from backline.cli.loading import APP_HELP, load_app
from backline.cli.options import a_weighting, json_option
from backline.cli.session import refuse_memory
from backline.cli.text import note, plural, say, say_json
from backline.job import Lane, Micros
from backline.states import State
from backline.store import Store
from backline.stores import open_store
from backline.supervisor.settings import SAME_SIGNAL
from backline.worker import Board, EmbeddedWorker, Run, WorkerSettings, most_held
from backline.worker.queue_names import strange_queues
from backline.worker.settings import DEFAULT_CONCURRENCY

_PROMOTE = 1_000
_LOOK_S = 0.2
_MOST_IN_VAIN = 15
"""Rounds in which ready jobs were counted and none was taken: the counts are damaged."""


@click.command()
@click.argument("target", metavar="[MODULE:APP]", required=False)
@click.option("-A", "--app", "app_target", metavar="MODULE:APP", help=APP_HELP)
@click.option(
    "-q",
    "--queues",
    type=a_weighting,
    metavar="QUEUE[=WEIGHT],...",
    help="Only these queues, by weight.  [default: those of the app]",
)
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1),
    default=DEFAULT_CONCURRENCY,
    show_default=True,
    metavar="N",
    help="Jobs at a time.",
)
@click.option(
    "--scheduled", is_flag=True, help="Also wait for scheduled jobs, retries too, and run them."
)
@json_option
def drain(
    target: str | None,
    app_target: str | None,
    queues: dict[str, int] | None,
    concurrency: int,
    scheduled: bool,
    as_json_lines: bool,
) -> int:
    """Run the jobs of an app in this process until none is ready, then end.

    For scripts and tests. Jobs that crash their process end this command with it, and time
    limits of `def` tasks are not enforced: `backline worker` does both. Ctrl-C finishes what
    runs, a second one hands it back.

    Exit status: 0 nothing is left, 1 jobs died or the draining was cut short.
    """
    if target and app_target:
        raise click.UsageError("name the app once: as the argument or with --app")
    app = load_app(target or app_target)
    refuse_memory(app.url)
    served = queues or weights(None, app.queues())
    draining = _Draining(app, served, concurrency)
    asyncio.run(draining.run(scheduled=scheduled, quiet=as_json_lines))
    return _account(draining, as_json_lines=as_json_lines)


class _Draining:
    def __init__(self, app: App, queues: dict[str, int], concurrency: int) -> None:
        self.ends: Counter[State] = Counter()
        self.stopped = False
        self._app = app
        self._queues = queues
        self._concurrency = concurrency
        self._signals = 0
        self._signalled_at: Micros = 0
        self._worker: EmbeddedWorker | None = None
        self._wake = asyncio.Event()

    async def run(self, *, scheduled: bool, quiet: bool) -> None:
        """Work until nothing is left, or told to stop."""
        store = open_store(self._app.url, clock=self._app.clock)
        await store.open()
        try:
            if strange := await strange_queues(store, self._queues, self._app.queues()):
                note(strange)
            await self._app.arelay()
            length = sum(await self._left(store, scheduled=scheduled))
            in_vain = 0
            with self._on_signals(), progress_bar("drain", length, shown=not quiet) as bar:
                while not self.stopped:
                    runs = self.ends.total()
                    await store.promote(_PROMOTE)
                    for lane in Lane:
                        await self._work(store, lane, lambda: bar.update(1))
                    ready, later = await self._left(store, scheduled=scheduled)
                    if ready + later + await self._app.arelay() == 0:
                        return
                    in_vain = in_vain + 1 if ready and self.ends.total() == runs else 0
                    if in_vain == _MOST_IN_VAIN:
                        self.stopped = True
                        note(f"{plural(ready, 'job')} said to be ready cannot be taken")
                    await self._pause()
        finally:
            await store.close()
            await self._app.aclose()

    async def _work(self, store: Store, lane: Lane, ended: Callable[[], None]) -> None:
        """One worker, until the lane is empty."""
        settings = WorkerSettings(
            name=self._app.clock.new_id(),
            queues=self._queues,
            lane=lane,
            concurrency=self._concurrency,
            drain=True,
        )

        def saw(run: Run) -> None:
            assert run.ack is not None, "an observer hears of runs that ended"
            self.ends[State(run.ack.state)] += 1
            ended()

        board = Board.private(most_held(settings, self._app.registry), settings.name)
        worker = self._app.make_worker(store, settings, board, observer=saw)
        embedded = EmbeddedWorker(
            worker,
            store,
            self._app.clock,
            lambda: open_store(self._app.url, clock=self._app.clock),
        )
        if self.stopped:
            return
        async with embedded:
            self._worker = embedded
            await embedded.finished()
        self._worker = None

    async def _left(self, store: Store, *, scheduled: bool) -> tuple[int, int]:
        """How many jobs are ready; and scheduled, if they matter."""
        queues = [
            queue
            for queue in await store.stats()
            if queue.queue in self._queues and not queue.paused
        ]
        ready = sum(max(0, queue.counts.get(State.READY, 0)) for queue in queues)
        later = sum(max(0, queue.counts.get(State.SCHEDULED, 0)) for queue in queues)
        return ready, later if scheduled else 0

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await self._wake.wait()

    @contextmanager
    def _on_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._signalled)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _signalled(self) -> None:
        now = self._app.clock.tick()
        if self._signals and now - self._signalled_at < SAME_SIGNAL:
            return
        self.stopped = True
        self._signals, self._signalled_at = self._signals + 1, now
        self._wake.set()
        if self._worker is None:
            return
        if self._signals == 1:
            note("\nfinishing what runs; Ctrl-C again hands it back")
            self._worker.worker.stop()
        else:
            self._worker.worker.quit()


def _account(draining: _Draining, *, as_json_lines: bool) -> int:
    ends = draining.ends
    if as_json_lines:
        counted = {str(state): ends[state] for state in State if state in ends}
        say_json({"runs": ends.total(), "ends": counted, "complete": not draining.stopped})
    else:
        told = ", ".join(f"{count:,} {state}" for state, count in ends.most_common())
        say(f"{plural(ends.total(), 'run')}{f': {told}' if told else ''}")
    return ExitCode.NOT_DONE if draining.stopped or ends[State.DEAD] else ExitCode.OK
