"""How fast something happens, lately."""

from collections import deque
from typing import Final

from backline.job import MINUTE, SECOND, Micros

_WINDOW: Final[Micros] = MINUTE


class Rate:
    """Events per second over the last minute, or since the first event if that is less."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: deque[list[int]] = deque()
        """[second, events in it], at most a minute of them."""

    def add(self, tick: Micros) -> None:
        """One event now."""
        second = tick // SECOND
        seconds = self._seconds
        if seconds and seconds[-1][0] == second:
            seconds[-1][1] += 1
            return
        self._forget(tick)
        seconds.append([second, 1])

    def per_second(self, tick: Micros, shortest: int = 1) -> float:
        """The rate, over `shortest` seconds at least; 0.0 when nothing happened lately."""
        self._forget(tick)
        seconds = self._seconds
        if not seconds:
            return 0.0
        span = max(shortest, tick // SECOND - seconds[0][0] + 1)
        return sum(count for _, count in seconds) / span

    def _forget(self, tick: Micros) -> None:
        while self._seconds and self._seconds[0][0] * SECOND <= tick - _WINDOW:
            self._seconds.popleft()
