"""What the story measured: plain data, and whether it came out as it should."""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from backline.demo.load import Sample
from backline.demo.thumbnails import SIZES
from backline.job import SECOND, Micros


def percentile(values: Sequence[int], percent: float) -> int:
    """The smallest value that at least `percent` of all do not exceed (nearest rank).

    Raises ValueError if there are none.
    """
    if not values:
        raise ValueError("no values, no percentile")
    return sorted(values)[max(math.ceil(len(values) * percent / 100), 1) - 1]


class Uploads(msgspec.Struct, frozen=True, kw_only=True):
    """The same uploads, done in one of two ways."""

    way: Literal["in the request", "through the queue"]
    users: int
    answers: list[Sample]
    look_ups: list[Sample]
    """Profiles looked up meanwhile."""
    finished: list[Micros]
    """When each photograph had all its thumbnails, since the first upload began."""

    @property
    def failed(self) -> int:
        """How many users got no answer, or an error."""
        return sum(not answer.ok for answer in self.answers)

    @property
    def accepted(self) -> int:
        """How many photographs the service took."""
        return len(self.answers) - self.failed

    def response(self, percent: float) -> Micros:
        """A percentile of how long users waited, those who got no answer included."""
        return percentile([answer.took for answer in self.answers], percent)

    @property
    def rate(self) -> float:
        """Uploads answered a second, from the first one sent to the last one answered."""
        last = max(answer.start + answer.took for answer in self.answers)
        return self.accepted * SECOND / max(last, 1)

    def look_up(self, percent: float) -> Micros:
        """A percentile of how long a profile look-up took meanwhile."""
        return percentile([sample.took for sample in self.look_ups], percent)

    def problems(self) -> list[str]:
        """What did not come out as it should."""
        found: list[str] = []
        if len(self.finished) < self.accepted:
            missing = self.accepted - len(self.finished)
            found.append(f"{missing} photographs uploaded {self.way} have no thumbnails")
        if self.way == "through the queue" and self.failed:
            reasons = sorted({answer.error or str(answer.status) for answer in self.bad_answers})
            found.append(f"{self.failed} uploads {self.way} failed: {', '.join(reasons)}")
        if not self.look_ups:
            found.append(f"no profile was looked up while photographs came {self.way}")
        return found

    @property
    def bad_answers(self) -> list[Sample]:
        """What the users got who got no answer, or an error."""
        return [answer for answer in self.answers if not answer.ok]


class Interrupted(msgspec.Struct, frozen=True, kw_only=True):
    """A job that was running in the worker when that was killed."""

    job: str
    running_again: Micros
    """How long after the kill it was running again."""
    succeeded: bool


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """A worker killed with SIGKILL while it was at work. Times count from the first upload."""

    jobs: int
    succeeded: int
    leases: int
    """How often a job was handed to a worker, in all."""
    thumbnails: int
    pid: int
    killed_at: list[Micros]
    """More than once if no job was running at that very moment the first time."""
    interrupted: list[Interrupted]
    finished: list[Micros]
    """When each job ended."""

    @property
    def lost(self) -> int:
        """How many jobs never succeeded."""
        return self.jobs - self.succeeded

    def problems(self) -> list[str]:
        """What did not come out as it should."""
        found: list[str] = []
        if self.lost:
            found.append(f"{self.lost} of {self.jobs} jobs did not succeed after the kill")
        if self.thumbnails != self.jobs * len(SIZES):
            found.append(f"{self.thumbnails} thumbnails after the kill for {self.jobs} photographs")
        if not self.interrupted:
            found.append("the kill interrupted no job, so it showed nothing")
        return found


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """A corrupt photograph: dead, repaired, redriven. Times count from its upload."""

    job: str
    reason: str
    failures: int
    """How often it was tried in vain."""
    started: list[Micros]
    """When each attempt began, as far as that was seen."""
    dead_at: Micros | None
    redriven_at: Micros | None
    succeeded_at: Micros | None
    thumbnails: int

    def problems(self) -> list[str]:
        """What did not come out as it should."""
        found: list[str] = []
        if self.dead_at is None:
            found.append("the corrupt photograph's job did not end in the dead-letter queue")
        elif not self.reason:
            found.append("the dead job does not say why it is dead")
        if self.succeeded_at is None or self.thumbnails != len(SIZES):
            found.append("the repaired photograph has no thumbnails")
        return found


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """All that was measured in one run of the story."""

    machine: str
    megapixels: float
    """Of the photographs that were uploaded, on average."""
    inline: Uploads
    queued: Uploads
    kill: Kill
    repair: Repair

    def problems(self) -> list[str]:
        """What did not come out as it should; the story is told only if there is nothing."""
        acts = (self.inline, self.queued, self.kill, self.repair)
        return [problem for act in acts for problem in act.problems()]
