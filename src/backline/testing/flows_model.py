"""Workflows as the model has them: how a parent has ended is looked up each time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from backline.job import Enqueued, JobId, JobRequest
from backline.parents import On
from backline.states import TERMINAL, State
from backline.store import FlowStats
from backline.testing.kept import Kept


@dataclass
class FlowsModel:
    """Parents and groups. `jobs` has every job there ever was."""

    jobs: Mapping[JobId, Kept]
    groups: dict[JobId, list[Kept]] = field(default_factory=dict)
    flow_of: dict[JobId, JobId] = field(default_factory=dict)
    """The flow of each group."""
    halted: set[JobId] = field(default_factory=set)
    """Flows that were cancelled."""

    def make_group(self, request: JobRequest) -> None:
        """The group of a job that may be added, or not."""
        if request.group_id is not None and request.flow_id is not None:
            self.groups.setdefault(request.group_id, [])
            self.flow_of[request.group_id] = request.flow_id

    def tie(self, job: Kept, answers: Mapping[JobId, Enqueued]) -> None:
        """A job is added; one before it in the call that was not is stood in for by who has
        its key."""
        job.parents = tuple(
            (answers[after.parent].id if after.parent in answers else after.parent, after.on)
            for after in job.request.after
        )
        if job.request.group_id is not None:
            self.groups[job.request.group_id].append(job)

    def stats(self, flow: JobId) -> FlowStats | None:
        """How far a flow is."""
        groups = [group for group in self.groups if self.flow_of[group] == flow]
        jobs = [job for group in groups for job in self.groups[group]]
        ended = [job.state for job in jobs if job.state in TERMINAL]
        failed = len(ended) - ended.count(State.SUCCEEDED)
        halted = flow in self.halted
        stats = FlowStats(
            flow=flow, added=len(jobs), ended=len(ended), failed=failed, cancelled=halted
        )
        return stats if groups else None

    def halt(self, flow: JobId) -> list[Kept]:
        """Cancel what is added to a flow from now on; what lives and was not asked to stop."""
        groups = [group for group in self.groups if self.flow_of[group] == flow]
        self.halted.update(self.flow_of[group] for group in groups)
        live = [job for group in groups for job in self.groups[group] if job.state not in TERMINAL]
        return [job for job in live if not (job.state is State.RUNNING and job.cancel)]

    def is_halted(self, job: Kept) -> bool:
        """The job is part of a flow that was cancelled."""
        return self.flow_of.get(job.request.group_id or "") in self.halted

    def resume(self, job: Kept) -> None:
        """A job lives again: its flow is not cancelled any more."""
        self.halted.discard(self.flow_of.get(job.request.group_id or "", ""))

    def is_forbidden(self, job: Kept) -> bool:
        """A parent ended otherwise than the job needs."""
        ends = [(on, self._ended(parent, on)) for parent, on in job.parents]
        return any(ended is not None and not on.met(ended) for on, ended in ends)

    def is_open(self, job: Kept) -> bool:
        """A parent has not ended."""
        return any(self._ended(parent, on) is None for parent, on in job.parents)

    def _ended(self, parent: JobId, on: On) -> State | None:
        """How a parent has ended for who waits for that; None: it has not."""
        job = self.jobs.get(parent)
        if job is not None:
            return job.state if job.state in TERMINAL else None
        states = [member.state for member in self.groups[parent]]
        over = all(state in TERMINAL for state in states)
        failed = any(state in TERMINAL - {State.SUCCEEDED} for state in states)
        if failed and (over or on is On.SUCCESS):
            return State.DEAD
        return State.SUCCEEDED if over else None
