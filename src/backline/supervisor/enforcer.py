"""The enforcer: looks at every worker's board and ends those that must end."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from backline.clock import Clock
from backline.job import SECOND, Micros
from backline.supervisor import linux
from backline.supervisor.processes import Child
from backline.supervisor.settings import SupervisorSettings
from backline.supervisor.verdict import Verdict, judge_cell, judge_worker, worn_out
from backline.worker.board import Board, Entry, Reply, Token

log = logging.getLogger(__name__)

LOOK: Final[Micros] = SECOND // 4
"""How often every board is looked at."""
LAST_MOMENTS: Final[Micros] = SECOND // 2
"""How long beyond the grace a worker may take to hand back what it has."""
CUT_OFF: Final[Micros] = 2 * SECOND
"""How long a worker may live after it has hung up; one that ends by itself does so at once."""


@dataclass(slots=True)
class _Told:
    """Since when a cell has had its replies."""

    cancel: dict[Token, Micros] = field(default_factory=dict)
    lost: dict[Token, Micros] = field(default_factory=dict)


class Enforcer:
    """Enforces what workers cannot: time limits, cancels, the grace, and their own size."""

    def __init__(self, settings: SupervisorSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._told: dict[Child, _Told] = {}
        self._sized_at: Micros = 0

    def look(self, children: Iterable[Child]) -> None:
        """Look at each worker once."""
        now = self._clock.tick()
        sizing = now - self._sized_at >= SECOND
        if sizing:
            self._sized_at = now
        present = list(children)
        self._told = {child: told for child, told in self._told.items() if child in present}
        for child in present:
            if child.killed:  # whatever holds it up, it was said once
                continue
            if self._is_over(child, now) or self._is_cut_off(child, now) or child.board is None:
                continue
            self._judge(child, child.board, now)
            if sizing and child.stopping_since is None and not child.leaving:
                self._size(child, child.board, now)

    def _is_over(self, child: Child, now: Micros) -> bool:
        """It was told to end, and its time for that is over, or it did not hear it."""
        if child.stopping_since is None:
            if child.leaving and not child.leave_asked:
                child.leave()
            return False
        if not child.stop_asked:
            child.stop(now)
        if now - child.stopping_since < self._settings.grace + LAST_MOMENTS:
            return False
        child.kill()
        return True

    def _is_cut_off(self, child: Child, now: Micros) -> bool:
        """It lives without its channel: a job has closed the files of its process."""
        if child.hung_up_at is None or now - child.hung_up_at < CUT_OFF:
            return False
        log.warning("killing worker %s: a job has closed its files", child.name)
        child.kill(ours=False)
        return True

    def _judge(self, child: Child, board: Board, now: Micros) -> None:
        entries = board.entries()
        if child.is_cell:
            told = self._told.setdefault(child, _Told())
            _note(told, board, entries, now)
            verdict = judge_cell(entries, told.cancel, told.lost, now)
        else:
            verdict = judge_worker(entries, board.beaten_at, now)
        if verdict:
            log.warning("killing worker %s: %s", child.name, _reason(verdict))
            child.kill(timed_out=verdict.timed_out, cancelled=verdict.cancelled)

    def _size(self, child: Child, board: Board, now: Micros) -> None:
        reason = worn_out(
            board.finished,
            linux.resident_bytes(child.pid),
            max_jobs=self._settings.max_jobs,
            max_memory=self._settings.max_memory,
        )
        if reason is not None:
            log.info("replacing worker %s: %s", child.name, reason)
            child.stop(now)


def _note(told: _Told, board: Board, entries: Iterable[Entry], now: Micros) -> None:
    for entry in entries:
        reply = board.reply(entry.slot)
        if reply is Reply.CANCEL:
            told.cancel.setdefault(entry.token, now)
        elif reply is Reply.LOST:
            told.lost.setdefault(entry.token, now)


def _reason(verdict: Verdict) -> str:
    if verdict.timed_out:
        jobs = ", ".join(sorted(job_id for job_id, _ in verdict.timed_out))
        return f"past its time limit: job {jobs}"
    if verdict.cancelled:
        jobs = ", ".join(sorted(job_id for job_id, _ in verdict.cancelled))
        return f"cancelled, and not stopping: job {jobs}"
    return "its job is another worker's by now"
