"""Natural batching: whoever comes during a flush joins the next one.

The first caller flushes at once; there are no timers, so an idle system waits for nothing,
and the busier it is the more calls share one commit.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from typing import Generic, TypeAlias, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_Waiting: TypeAlias = tuple[Item, asyncio.Future[Answer]]


class Batcher(Generic[Item, Answer]):
    """Gathers the items of concurrent callers into calls of `flush`, one at a time.

    `flush` takes items and returns their answers in the same order. A batch weighs at most
    `most` (an item that is heavier goes alone). Items that share a key never share a batch:
    the later one waits for the next. What waits is bounded by the callers, each of which
    awaits its own item.

    An error of `flush` that is one of `shared` (the store is away) goes to every caller of
    the batch. Any other is some item's fault: the batch is halved and flushed again until the
    error meets the item alone, so `flush` must be safe to repeat. A caller that is cancelled
    leaves the batch if it has not begun; if it has, the item is flushed all the same.

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
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((item, answer))
        if self._flushing is None:
            self._flushing = loop.create_task(self._run(), name="backline batch")
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
        except BaseException:
            # Cancelled with its loop, or a bug in flush's own error handling: nobody may be
            # left to wait for ever.
            for _, answer in (*batch, *self._waiting):
                answer.cancel()
            self._waiting.clear()
            raise
        finally:
            self._flushing = None

    def _next_batch(self) -> list[_Waiting[Item, Answer]]:
        """Take from the front of the line what fits in one batch, in order."""
        batch: list[_Waiting[Item, Answer]] = []
        postponed: list[_Waiting[Item, Answer]] = []
        taken: set[Hashable] = set()
        weight = 0
        while self._waiting and len(postponed) < self._most:
            item, answer = self._waiting[0]
            heavier = weight + self._weight(item)
            if batch and heavier > self._most:
                break
            self._waiting.popleft()
            if answer.done():
                continue  # its caller was cancelled
            keys = self._keys(item)
            if taken.isdisjoint(keys):
                batch.append((item, answer))
                weight = heavier
            else:
                postponed.append((item, answer))
            # Also of a postponed item: a third one with its key must not overtake it.
            taken.update(keys)
        self._waiting.extendleft(reversed(postponed))
        return batch

    async def _settle(self, batch: list[_Waiting[Item, Answer]]) -> None:
        """Flush a batch and hand out its answers; halve it to find whose fault an error is."""
        try:
            answers = await self._answers([item for item, _ in batch])
        except self._shared as error:
            for _, answer in batch:
                _fail(answer, error)
        except Exception as error:  # noqa: BLE001 - it is handed to the caller it belongs to
            if len(batch) > 1:
                half = len(batch) // 2
                await self._settle(batch[:half])
                await self._settle(batch[half:])
            else:
                _fail(batch[0][1], error)
        else:
            for (_, future), result in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _answers(self, items: Sequence[Item]) -> Sequence[Answer]:
        answers = await self._flush(items)
        if len(answers) != len(items):
            raise ValueError(f"flush gave {len(answers)} answers to {len(items)} items")
        return answers


def _fail(answer: asyncio.Future[Answer], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
