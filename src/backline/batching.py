"""Natural batching: whoever comes during a flush joins the next one.

The first caller flushes at once; there are no timers, so an idle system waits for nothing,
and the busier it is the more calls share one commit.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Iterator, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from backline.job import JobRequest

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_ENDS: Final = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
"""What ends the loop, or this task, besides being told to the callers."""


class _Waiting(NamedTuple, Generic[Item, Answer]):
    """An item in the line."""

    item: Item
    answer: asyncio.Future[Answer]
    weight: int
    keys: frozenset[Hashable]


class Batcher(Generic[Item, Answer]):
    """Gathers the items of concurrent callers into calls of `flush`, one at a time.

    `flush` takes items and returns their answers in the same order. A batch weighs at most
    `most` (an item that is heavier goes alone). Items that share a key never share a batch:
    the later one waits for the next. What waits is bounded by the callers, each of which
    awaits its own item.

    An error of `flush` that is one of `shared` (the store is away) goes to every caller of
    the batch. Any other is some item's fault: the batch is halved and flushed again until the
    error meets the item alone, so `flush` must be safe to repeat. A caller that is cancelled
    leaves the batch if it has not begun; if it has, the item is flushed all the same. Whatever
    else breaks the flushing goes to everybody who waits: nobody is left behind.

    Belongs to one event loop.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]],
        *,
        most: int,
        weight: Callable[[Item], int],
        keys: Callable[[Item], Collection[Hashable]],
        shared: tuple[type[Exception], ...] = (),
    ) -> None:
        self._flush = flush
        self._most = most
        self._weight = weight
        self._keys = keys
        self._shared = shared
        self._waiting: deque[_Waiting[Item, Answer]] = deque()
        self._flushing: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """Flush `item` in the next batch and return its answer. Raises what `flush` raised."""
        # First of all, so that an item that breaks them is an error of its caller alone.
        weight, keys = self._weight(item), frozenset(self._keys(item))
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append(_Waiting(item, answer, weight, keys))
        if self._flushing is None:
            self._flushing = loop.create_task(self._run(), name="backline batch")
            self._flushing.add_done_callback(self._ended)
        return await answer

    async def idle(self) -> None:
        """Wait until nothing is being flushed or waits to be."""
        while self._flushing is not None:
            await asyncio.wait([self._flushing])

    async def _run(self) -> None:
        batch: list[_Waiting[Item, Answer]] = []
        try:
            while batch := self._next_batch():
                await self._settle(batch)
        except BaseException as error:
            # Cancelled with its loop, or a bug: nobody may be left to wait for ever.
            self._give_up([*batch, *self._waiting], error)
            if isinstance(error, _ENDS):
                raise
        finally:
            self._flushing = None

    def _ended(self, flushing: asyncio.Task[None]) -> None:
        """Not even begun, if it has not said itself that it ended: cancelled before that."""
        if self._flushing is flushing:
            self._flushing = None
            self._give_up([*self._waiting], asyncio.CancelledError())

    def _give_up(self, waiting: list[_Waiting[Item, Answer]], error: BaseException) -> None:
        self._waiting.clear()
        for one in waiting:
            _fail(one.answer, error)

    def _next_batch(self) -> list[_Waiting[Item, Answer]]:
        """Take from the front of the line what fits in one batch, in order."""
        batch: list[_Waiting[Item, Answer]] = []
        postponed: list[_Waiting[Item, Answer]] = []
        taken: set[Hashable] = set()
        weight = 0
        while self._waiting and len(postponed) < self._most:
            heavier = weight + self._waiting[0].weight
            if batch and heavier > self._most:
                break
            one = self._waiting.popleft()
            if one.answer.done():
                continue  # its caller was cancelled
            if taken.isdisjoint(one.keys):
                batch.append(one)
                weight = heavier
            else:
                postponed.append(one)
            # Also of a postponed item: a third one with its key must not overtake it.
            taken.update(one.keys)
        self._waiting.extendleft(reversed(postponed))
        return batch

    async def _settle(self, batch: list[_Waiting[Item, Answer]]) -> None:
        """Flush a batch and hand out its answers; halve it to find whose fault an error is."""
        try:
            answers = await self._answers([one.item for one in batch])
        except self._shared as error:
            for one in batch:
                _fail(one.answer, error)
        except Exception as error:  # noqa: BLE001 - it is handed to the caller it belongs to
            if len(batch) > 1:
                half = len(batch) // 2
                await self._settle(batch[:half])
                await self._settle(batch[half:])
            else:
                _fail(batch[0].answer, error)
        else:
            for one, result in zip(batch, answers, strict=True):
                if not one.answer.done():
                    one.answer.set_result(result)

    async def _answers(self, items: Sequence[Item]) -> Sequence[Answer]:
        answers = await self._flush(items)
        if len(answers) != len(items):
            raise ValueError(f"flush gave {len(answers)} answers to {len(items)} items")
        return answers


def _fail(answer: asyncio.Future[Answer], error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        answer.cancel()
    elif not answer.done():
        answer.set_exception(error)


def claims(call: Collection[JobRequest]) -> set[Hashable]:
    """What the jobs of one batch share with no job of another call in it: their ids and keys. A
    child is not added beside its parent."""
    keys: set[Hashable] = {request.id for request in call}
    for request in call:
        if request.after:
            keys.update(after.parent for after in request.after)
        if request.unique_key is not None:
            keys.add(("unique", request.unique_key))
        if request.idempotency_key is not None:
            keys.add(("idempotency", request.idempotency_key))
    return keys


def apart(
    items: Iterable[Item], keys: Callable[[Item], Collection[Hashable]]
) -> Iterator[list[Item]]:
    """The items in their order, cut where one shares a key with one before it: no batch has
    both."""
    batch: list[Item] = []
    taken: set[Hashable] = set()
    for item in items:
        held = keys(item)
        if not taken.isdisjoint(held):
            yield batch
            batch, taken = [], set()
        batch.append(item)
        taken.update(held)
    if batch:
        yield batch
