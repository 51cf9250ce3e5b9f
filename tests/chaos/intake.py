"""What producers and operators asked for, and what they were told."""

from dataclasses import dataclass, field
from typing import NamedTuple

from backline.job import JobId, Micros
from backline.store import Cancelling


class Cancel(NamedTuple):
    """A cancel that was answered; times on the clock of the history."""

    job: JobId
    answer: Cancelling
    asked: Micros
    answered: Micros


class Snapshot(NamedTuple):
    """The counts of all queues, read while producers and workers went on."""

    counted: int
    """The jobs in every state and the purged ones, summed up."""
    smallest: int
    """The lowest single count: none may be negative."""
    least: int
    """How many jobs had been acknowledged before the counts were read."""
    most: int
    """How many had been offered when they had been read."""


@dataclass
class Intake:
    """Grows while a campaign goes on."""

    offered: list[JobId] = field(default_factory=list)
    """Every job that a producer sent off, but for those which were surely not added."""
    acknowledged: list[JobId] = field(default_factory=list)
    refused: list[JobId] = field(default_factory=list)
    """Their producer was told that they were not added."""
    not_before: dict[JobId, Micros] = field(default_factory=dict)
    """The earliest wall time at which a delayed job may start."""
    keys: dict[JobId, str] = field(default_factory=dict)
    """The unique keys of jobs that were added, in that order."""
    replacing: set[JobId] = field(default_factory=set)
    """Those of them that took their keys from whoever had them."""
    cancels: list[Cancel] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)

    def refuse(self, ids: list[JobId]) -> None:
        """The producer was told that these were not added."""
        self.refused += ids
        self.offered = [each for each in self.offered if each not in set(ids)]
