"""The heartbeat: keeps the leases of workers while they live, and tells them the news.

It runs where no user code can hold it up: in the supervisor, which is a process of its
own, or for an embedded worker in a thread with a loop and a store of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from backline.clock import Clock
from backline.duty import Duty
from backline.faults import fault
from backline.job import SECOND, Backoff, HeldLease, Micros, WorkerName
from backline.store import Store
from backline.worker.board import Board, Phase, Reply, Token

ROUND: Final[Micros] = SECOND
"""How often cancel requests are looked for, unless a third of the lease is shorter."""
EXTENSIONS: Final = 3
"""Extensions in the time of a lease. One that fails is tried again many times before the
lease is over (see `Heartbeat`), so a lease outlives more than three lost heartbeats."""


@dataclass(slots=True)
class _Member:
    board: Board
    wake: Callable[[], None]
    told: dict[Token, Reply] = field(default_factory=dict)
    held: list[HeldLease] = field(default_factory=list)
    read_at: Micros = 0
    """The tick before the store was asked for `held`: what is leased later is not among it."""


class Heartbeat:
    """Keeps the leases of the workers that were added.

    Every second it reads what each worker holds and tells it, by its board and `wake`, which
    jobs somebody wants cancelled and which it lost. Every third of `ttl` it extends the
    leases for `ttl`, and notes on the board until when they last, counted from before it read
    which they are. After a store error it tries again within a tenth of `ttl`, for ever.

    Not safe between threads; `wake` is called on the loop of `run`.
    """

    def __init__(self, store: Store, clock: Clock, ttl: Micros) -> None:
        self._store = store
        self._clock = clock
        self._ttl = ttl
        self._every = min(ROUND, ttl // EXTENSIONS)
        self._extended_at: Micros | None = None
        self._members: dict[WorkerName, _Member] = {}
        outage = Backoff(base=max(1, ttl // 30), cap=max(1, ttl // 10))
        self._duty = Duty("keeping the leases", self._round, clock, outage)

    @property
    def healthy(self) -> bool:
        """The last heartbeat reached the store."""
        return self._duty.failures == 0

    def add(self, board: Board, wake: Callable[[], None]) -> None:
        """From now on keep the leases of this board's worker. `wake` follows each news."""
        self._members[board.worker] = _Member(board, wake)

    def remove(self, worker: WorkerName) -> None:
        """Its leases are somebody else's business now. Unknown: nothing."""
        self._members.pop(worker, None)

    async def run(self) -> None:
        """Keep them until cancelled."""
        await self._duty.run()

    async def beat(self, *, extend: bool = True) -> None:
        """One heartbeat for every worker. Raises StoreError."""
        members = list(self._members.items())
        for worker, member in members:
            if worker not in self._members:  # it ended while the store was asked for another
                continue
            started = _started(member.board)
            member.read_at = self._clock.tick()
            member.held = await self._store.held(worker)
            if worker in self._members:
                self._tell_news(member, started)
        if extend:
            await self._extend([member for _, member in members])

    async def _round(self) -> Micros:
        begun = self._clock.tick()
        due = self._extended_at is None or begun >= self._extended_at + self._ttl // EXTENSIONS
        await self.beat(extend=due)
        if due:
            self._extended_at = begun
        return max(0, self._every - (self._clock.tick() - begun))

    def _tell_news(self, member: _Member, started: set[Token]) -> None:
        held = {(lease.id, lease.attempt) for lease in member.held}
        # What was on the board before the store was asked, is not held and is on the board
        # still cannot have been acked in between: an ack comes after the job has finished.
        lost = (started - held) & _started(member.board)
        cancels = [(lease.id, lease.attempt) for lease in member.held if lease.cancel]
        member.told = {
            token: reply for token, reply in member.told.items() if token in started | held
        }
        self._tell(member, cancels, Reply.CANCEL)
        self._tell(member, lost, Reply.LOST)

    async def _extend(self, members: Sequence[_Member]) -> None:
        leases = [(member, lease) for member in members for lease in member.held]
        fault("heartbeat.before_extend")
        kept = await self._store.extend([lease for _, lease in leases], self._ttl)
        for member in members:
            if member.board.worker not in self._members:
                continue
            # Not from this call: a lease granted since `held` was read is not extended by it,
            # and was granted for no less than this.
            member.board.renew(member.read_at + self._ttl)
            refused = {
                (lease.id, lease.attempt)
                for (owner, lease), ok in zip(leases, kept, strict=True)
                if owner is member and not ok
            }
            self._tell(member, refused & _started(member.board), Reply.LOST)

    def _tell(self, member: _Member, tokens: Sequence[Token] | set[Token], reply: Reply) -> None:
        news = False
        for token in tokens:
            if member.told.get(token, Reply.NONE) < reply and member.board.tell(*token, reply):
                member.told[token] = reply
                news = True
        if news:
            member.wake()


def _started(board: Board) -> set[Token]:
    return {entry.token for entry in board.entries() if entry.phase is Phase.STARTED}
