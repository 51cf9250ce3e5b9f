"""The supervisor: one asyncio loop in the main thread of a process that runs no user code.

It starts the workers, learns from the first one which store the app uses, opens it with a
handle of its own and then keeps, reaps, settles and watches until a signal ends it:

    SIGTERM, SIGINT  drain: what runs gets the grace, what is left is handed back; exit 0
    again            quit now: everything is handed back at once; exit 1
    SIGHUP           replace the workers one by one, each once a fresh one works beside it

Works as PID 1. Its children die with it, whatever it dies of.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

from backline.clock import SYSTEM_CLOCK, Clock
from backline.display import without_secrets
from backline.duty import Duty
from backline.errors import ConfigError, SchemaMismatch, StoreRefused
from backline.job import SECOND, Micros
from backline.store import Store
from backline.supervisor.crew import Cells, Spawner
from backline.supervisor.enforcer import LOOK, Enforcer
from backline.supervisor.messages import Hello
from backline.supervisor.notify import notify, watchdog_interval
from backline.supervisor.places import Places
from backline.supervisor.processes import CHILD, Child, Processes
from backline.supervisor.recycle import renew_all
from backline.supervisor.rundir import Folder
from backline.supervisor.scaling import Scaler
from backline.supervisor.settings import (
    EXIT_APP,
    EXIT_OK,
    EXIT_QUIT,
    EXIT_STORE,
    SAME_SIGNAL,
    SupervisorSettings,
    default_run_dir,
)
from backline.supervisor.signals import heeded
from backline.supervisor.upkeep import Upkeep, open_patiently, supervisor_name

log = logging.getLogger("backline.supervisor")

_LAST_WORDS: Final[Micros] = SECOND // 2
"""How long workers may take to hand everything back when told to quit now."""
_SETTLING: Final[Micros] = 5 * SECOND
"""How long a shutdown waits for the store to take the last settlements."""
_STRAYED: Final = (
    "backline: the app names another store than when this supervisor started, and this one "
    "stays with that: start it anew to move"
)

Announce: TypeAlias = Callable[[Hello, Store], None]


def supervise(settings: SupervisorSettings, announce: Announce | None = None) -> int:
    """Run a supervisor in this process, from its main thread; returns the exit code.

    `announce` is called once, on its loop, when the first worker is there and the store open.
    """
    return asyncio.run(Supervisor(settings, announce=announce).run())


class NoStoreError(Exception):
    """There is no store to work on, and why has been said: exit with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Supervisor:
    """Runs until a signal ends it. `command` is what follows the interpreter in a child."""

    def __init__(
        self,
        settings: SupervisorSettings,
        *,
        clock: Clock = SYSTEM_CLOCK,
        command: tuple[str, ...] = CHILD,
        announce: Announce | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._command = command
        self._announced = announce
        self._name = supervisor_name(clock)
        self._run_dir = settings.run_dir or default_run_dir()
        self._enforcer = Enforcer(settings, clock)
        self._stopping = asyncio.Event()
        self._quitting = asyncio.Event()
        self._asked_at: Micros = 0
        self._first_word: asyncio.Future[Hello | None] | None = None
        self._upkeep: Upkeep | None = None
        self._opened = asyncio.Event()
        self._unusable = False
        """The store can be no worker's: nobody took a job."""
        self._complaints: set[str] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._scaler: Scaler | None = None
        self._recycling: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._recycle_again = False

    async def run(self) -> int:
        """Supervise until told to stop; returns the exit code. Once only."""
        self._first_word = asyncio.get_running_loop().create_future()
        folder = Folder.make(self._run_dir, self._name)
        try:
            with (
                heeded(self._asked_to_stop, self._asked_to_recycle),
                Processes(self._clock, self._command) as processes,
            ):
                self._processes = processes
                self._staff(folder)
                return await self._live(folder)
        finally:
            self._leave(folder)

    def _staff(self, folder: Folder) -> None:
        settings, clock = self._settings, self._clock
        spawner = Spawner(settings, self._processes, folder, clock)
        self._places = Places(spawner, clock, self._watch_over, self._do)
        if settings.rules is not None:
            self._scaler = Scaler(settings.rules, self._places, clock, self._settled)
        self._cells = Cells(
            spawner,
            clock,
            limit=settings.cells,
            idle=settings.cell_idle,
            started=self._watch_over,
        )

    async def _live(self, folder: Folder) -> int:
        self._do(Duty("watching the workers", self._look, self._clock).run())
        # One in any case: it is the workers who know the store.
        self._places.resize(max(1, self._settings.processes))
        try:
            store = await self._store_unless_stopped(folder)
            if store is not None:
                await self._work(store)
        except NoStoreError as refused:
            return refused.code
        finally:
            await asyncio.shield(self._end_workers())
            await self._end_tasks()
        return EXIT_QUIT if self._quitting.is_set() else EXIT_OK

    async def _store_unless_stopped(self, folder: Folder) -> Store | None:
        """As `_find_store`; None: told to stop, and no worker can have taken a job, or the
        store cannot be reached for now.
        """
        assert self._first_word is not None, "a supervisor that does not run"
        finding = self._do(self._find_store(folder))
        stopping = self._do(self._stopping.wait())
        await asyncio.wait([finding, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not finding.done():
            # What they run meanwhile needs its leases kept: go on looking while they do.
            ending = self._end_workers()
            await asyncio.wait([finding, ending], return_when=asyncio.FIRST_COMPLETED)
            if self._first_word.done():  # what they have taken must be settled
                await asyncio.wait([finding], timeout=_SETTLING / SECOND)
        if not finding.done():
            finding.cancel()
            return None
        store: Store = finding.result()
        return store

    async def _find_store(self, folder: Folder) -> Store:
        """The store that the app uses, open. Raises NoStoreError."""
        assert self._first_word is not None, "a supervisor that does not run"
        hello = await self._first_word
        if hello is None:
            raise NoStoreError(EXIT_APP)
        folder.belongs_to(hello.url)
        try:
            store = await open_patiently(hello.url, self._clock)
        except (StoreRefused, SchemaMismatch, ConfigError) as error:
            self._unusable = True
            _say(f"backline: {error}")
            raise NoStoreError(EXIT_STORE) from error
        if not store.capabilities.between_processes:
            await store.close()
            self._unusable = True
            _say(
                f"backline: worker processes cannot share {without_secrets(hello.url)}, which "
                "lives in one process; use a URL such as sqlite:///backline.db"
            )
            raise NoStoreError(EXIT_STORE)
        self._upkeep = Upkeep(store, hello, self._settings, self._clock, self._name)
        return store

    async def _work(self, store: Store) -> None:
        upkeep = self._upkeep
        assert upkeep is not None, "the store was found"
        for child in self._processes.all:
            if child.hello is not None:
                upkeep.keep(child)
        upkeep.scaler = self._scaler
        self._opened.set()
        if self._announced is not None:
            self._announced(upkeep.hello, store)
        async with upkeep.running():
            for duty in upkeep.duties(self._run_dir, self._places.all, self._cells):
                self._do(duty.run())
            self._do(self._announce())
            await self._stopping.wait()
            notify("STOPPING=1", "STATUS=draining")
            # Leases are kept and outcomes settled while the last jobs run.
            await asyncio.shield(self._end_workers())
            await self._settle_the_rest()
        await store.close()

    # Each worker's life, as far as the store is concerned.

    def _watch_over(self, child: Child) -> None:
        self._do(self._greet(child))
        child.ended.add_done_callback(lambda _: self._bury(child))

    async def _greet(self, child: Child) -> None:
        await child.spoke.wait()
        first = self._first_word
        assert first is not None, "a supervisor that does not run"
        if self._strayed(child):
            child.failure = _STRAYED
            child.quit(self._clock.tick())
        if child.failure is not None and child.failure not in self._complaints:
            self._complaints.add(child.failure)
            _say(child.failure)
        if child.hello is None or child.failure is not None:
            if child.failure is not None and not child.passing and not first.done():
                first.set_result(None)
            return
        log.info("worker %s started, pid %d", child.name, child.pid)
        if not first.done():
            first.set_result(child.hello)
        if self._upkeep is not None:
            self._upkeep.keep(child)
        if self._stopping.is_set():
            child.stop(self._clock.tick())

    def _strayed(self, child: Child) -> bool:
        """It works on another store than ours, where nobody would keep its leases."""
        first = self._first_word
        ours = first.result() if first is not None and first.done() else None
        return ours is not None and child.hello is not None and child.hello.url != ours.url

    def _bury(self, child: Child) -> None:
        task = asyncio.get_running_loop().create_task(self._settle(child))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    async def _settle(self, child: Child) -> None:
        await self._opened.wait()
        assert self._upkeep is not None, "the store is open"
        await self._upkeep.settle(child)

    # Duties.

    async def _look(self) -> Micros:
        self._enforcer.look(self._processes.all)
        if self._upkeep is not None:
            for child in self._processes.all:
                self._upkeep.keep(child)
        return LOOK

    async def _announce(self) -> None:
        """Tell the service manager that the workers are there, and then that we live."""
        children = [place.child for place in self._places.kept if place.child is not None]
        await asyncio.gather(*(child.spoke.wait() for child in children))
        notify("READY=1", f"STATUS={len(children)} workers")
        interval = watchdog_interval()
        while interval is not None:
            notify("WATCHDOG=1")
            await asyncio.sleep(interval / SECOND)

    async def _recycle(self) -> None:
        """Replace the workers, and once they have been, the cells; then again, if asked again."""
        while self._recycle_again:
            self._recycle_again = False
            self._complaints.clear()
            if await renew_all(self._places.to_renew(), self._works):
                for cell in self._cells:
                    cell.stop(self._clock.tick())

    def _settled(self) -> bool:
        return self._recycling is None or self._recycling.done()

    def _works(self, child: Child) -> bool:
        return child.alive and child.hello is not None and not self._strayed(child)

    # The end.

    def _end_workers(self) -> asyncio.Task[None]:
        """Ask every worker to end; done when the last one has. Repeated: the same."""
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._see_workers_end())
        return self._ending

    async def _see_workers_end(self) -> None:
        """Ask every worker to end, and wait until the last one has. The enforcer sees to it."""
        self._places.close()
        if self._recycling is not None:
            self._recycling.cancel()
        self._cells.close()
        now = self._clock.tick()
        for child in self._processes.all:
            if child.hello is None:
                child.kill()  # it runs nothing yet
            else:
                child.stop(now)
        quitting = asyncio.ensure_future(self._quitting.wait())
        while self._processes.all and not quitting.done():
            ends: set[asyncio.Future[Any]] = {child.ended for child in self._processes.all}
            await asyncio.wait({*ends, quitting}, return_when=asyncio.FIRST_COMPLETED)
        quitting.cancel()
        await self._end_now()

    async def _end_now(self) -> None:
        """Of workers that are left: a last word, then a kill."""
        for child in self._processes.all:
            child.quit(self._clock.tick())
        await self._see_end(_LAST_WORDS / SECOND)
        for child in self._processes.all:
            child.kill()
        await self._see_end(None)

    async def _see_end(self, timeout: float | None) -> None:
        ends = [child.ended for child in self._processes.all]
        if ends:
            await asyncio.wait(ends, timeout=timeout)

    async def _settle_the_rest(self) -> None:
        await asyncio.sleep(0)  # the ends just seen become settlements
        if self._settling:
            await asyncio.wait(self._settling, timeout=_SETTLING / SECOND)

    async def _end_tasks(self) -> None:
        left = [*self._tasks, *self._settling]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    def _leave(self, folder: Folder) -> None:
        if folder.adoptable and folder.boards() and not self._unusable:
            log.warning("%s is left to the next supervisor: the store did not answer", folder.path)
            folder.close()
        else:
            folder.remove()

    # Helpers.

    def _do(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _asked_to_stop(self) -> None:
        now = self._clock.tick()
        if self._stopping.is_set():
            if now - self._asked_at < SAME_SIGNAL:
                return
            _tell("quitting now: running jobs are handed back")
            self._quitting.set()
        else:
            _tell("draining: no new jobs; the second signal quits at once")
            self._asked_at = now
            self._stopping.set()

    def _asked_to_recycle(self) -> None:
        self._recycle_again = True
        if self._stopping.is_set():
            return
        log.info("replacing the workers one by one")
        if self._recycling is None or self._recycling.done():
            self._recycling = self._do(self._recycle())


def _tell(text: str) -> None:
    """Whoever pressed a key wants to see that it was heard."""
    if log.isEnabledFor(logging.INFO) or not sys.stderr.isatty():
        log.info(text)
    else:
        _say(f"\n{text}")


def _say(text: str) -> None:
    """To the person who started us, whatever the logging is set to."""
    sys.stderr.write(f"{text.rstrip()}\n")
    sys.stderr.flush()
