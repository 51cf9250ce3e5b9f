"""What the model knows of events with a key, and of the waits for them."""

from collections.abc import Mapping

from msgspec.structs import replace

from backline.fanout import KeptEvent, Publication
from backline.job import JobId, Micros, Step, StepRecord
from backline.states import State
from backline.testing.kept import Kept


class WaitsModel:
    """Looks at every step of every job."""

    def __init__(self, jobs: Mapping[JobId, Kept]) -> None:
        self._jobs = jobs
        self._kept: dict[tuple[str, str], KeptEvent] = {}

    def kept(self, name: str, key: str, now: Micros) -> KeptEvent | None:
        """The first event of a name and key that is remembered."""
        found = self._kept.get((name, key))
        return found if found is not None and found.until > now else None

    def record(self, step: Step, now: Micros) -> None:
        """A running job records a step."""
        job = self._jobs[step.id]
        new = job.keep_step(step, now)
        record = job.recorded[step.name]
        if record.awaits is None or record.over:
            return
        event = self.kept(record.awaits.name, record.awaits.key, now)
        if step.over:
            job.recorded[step.name] = replace(record, over=True)
        elif new and event is not None:
            job.recorded[step.name] = _ended(record, event)

    def publish(self, event: Publication, now: Micros) -> list[Kept]:
        """An event is new; the jobs that it wakes."""
        if event.key is None:
            return []
        told = KeptEvent(
            id=event.id,
            name=event.name,
            key=event.key,
            payload=event.payload,
            at=now if event.at is None else event.at,
            until=now + event.event_ttl,
        )
        if self.kept(event.name, event.key, now) is None:
            self._kept[event.name, event.key] = told
        woken: list[Kept] = []
        for job in self._jobs.values():
            for name, step in [*job.recorded.items()] if not job.purged else ():
                if _is_for(step, told) and not step.over and (step.wake_at or 0) > now:
                    job.recorded[name] = _ended(step, told)
                    woken.append(job)
        return self.asleep(woken)

    def parked(self, steps: tuple[Step, ...]) -> list[Kept]:
        """Runs have ended that had done these; the jobs of which a wait is over."""
        jobs = [self._jobs[step.id] for step in steps]
        over = [job.recorded[step.name].over for job, step in zip(jobs, steps, strict=True)]
        return self.asleep([job for job, gone in zip(jobs, over, strict=True) if gone])

    @staticmethod
    def asleep(jobs: list[Kept]) -> list[Kept]:
        """Those that sleep, each once, in the order of a queue."""
        found = {job.seq: job for job in jobs if job.asleep and job.state is State.SCHEDULED}
        return sorted(found.values(), key=lambda job: (-job.priority, job.seq))


def _is_for(step: StepRecord, event: KeptEvent) -> bool:
    awaits = step.awaits
    return awaits is not None and (awaits.name, awaits.key) == (event.name, event.key)


def _ended(step: StepRecord, event: KeptEvent) -> StepRecord:
    return replace(step, over=True, value=event.payload, event_id=event.id, event_at=event.at)
