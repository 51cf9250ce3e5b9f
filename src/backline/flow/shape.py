"""The shapes of workflows: pure functions from jobs to jobs that wait for each other.

A flow's id, and a group's, is made of the id of its first job: building the same flow of the
same jobs again gives the same, so that enqueueing it again adds nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, overload

import msgspec

from backline.codec import Result, renamed
from backline.display import shown
from backline.job import JobId, JobRequest, Unpiped
from backline.parents import MOST_PARENTS, After, On, whole_of

OnFailure: TypeAlias = Literal["stop", "continue"]

previous: Final[Any] = Result()
"""In the arguments of a step: what the step before returned; after a group, the list of what
its jobs returned, in their order. `None` of one that did not succeed (`on_failure="continue"`)."""


def result_of(job: JobRequest) -> Any:
    """In the arguments of another job: what this one will have returned.

    The other job runs after it, by that alone.
    """
    return Result(job.id)


class Undoable(NamedTuple):
    """A step, and the job that undoes it."""

    job: JobRequest
    undo: JobRequest


def undoable(job: JobRequest, *, undo: JobRequest) -> Undoable:
    """A step of a chain that `undo` compensates for.

    If the chain does not come to its end, `undo` runs for each step that succeeded, the last
    one first. It is no part of the flow: cancelling that runs it, too. `previous` in its
    arguments is what `job` returned.
    """
    return Undoable(job, undo)


class Flow(Unpiped, msgspec.Struct, frozen=True):
    """Jobs that belong together; `app.enqueue_flow` takes it. Nothing is enqueued yet."""

    id: JobId
    jobs: tuple[JobRequest, ...]
    """In an order in which each comes after those that it waits for."""
    last: JobId | None = None
    """The job whose result is that of the flow."""


class Group(Unpiped, msgspec.Struct, frozen=True):
    """Jobs that run side by side: a step of a chain."""

    jobs: tuple[JobRequest, ...]

    def then(self, *steps: "Step", on_failure: OnFailure = "stop") -> Flow:
        """What runs once all of them have ended: the same as `chain(group, *steps)`."""
        return chain(self, *steps, on_failure=on_failure)


Step: TypeAlias = JobRequest | Group | Undoable


@overload
def group(jobs: Iterable[JobRequest], /) -> Group: ...
@overload
def group(*jobs: JobRequest) -> Group: ...
def group(*jobs: Any) -> Group:
    """Jobs that run side by side, of which there may be any number: one by one, or a list of them.

    Raises TypeError for what is no job.
    """
    if len(jobs) == 1 and not isinstance(jobs[0], (JobRequest, Flow, Group, Undoable)):
        [listed] = jobs
        if not isinstance(listed, Iterable):
            raise TypeError(f"group takes jobs, or a list of them, not {shown(listed)}")
        jobs = tuple(listed)
    return Group(_requests(jobs))


def flow_of(flow: "Flow | Step") -> Flow:
    """What is enqueued: a flow, or a step that is one by itself. Raises as `chain` does."""
    return flow if isinstance(flow, Flow) else chain(flow)


def workflow(*jobs: JobRequest) -> Flow:
    """Jobs that name those they run after (`using(after=...)`, `result_of`), parents first.

    The result of the last one is that of the flow. Raises ValueError for no job.
    """
    requests = _requests(jobs)
    flow = _flow_id(requests)
    last = requests[-1].id
    parts = tuple(_part(job, flow) for job in requests)
    return Flow(flow, parts, last if last == _whole(requests[-1]) else None)


def chain(*steps: Step, on_failure: OnFailure = "stop") -> Flow:
    """Steps that run one after the other: a job, a group of them, an `undoable` job.

    When a step ends otherwise than succeeded, those that follow are cancelled ("stop"), or run
    all the same ("continue"). Raises ValueError for a chain without jobs, or for `previous` after
    a group of more than `MOST_PARENTS`; TypeError for what is no step.
    """
    if on_failure not in ("stop", "continue"):
        raise ValueError(f"on_failure= of chain is stop or continue, not {shown(on_failure)}")
    on = On.SUCCESS if on_failure == "stop" else On.END
    parts = [_parts(step) for step in steps]
    flow = _flow_id([job for part in parts for job in part])
    jobs: list[JobRequest] = []
    before: tuple[After, ...] = ()
    parent: JobId = ""
    ids: JobId | list[JobId] = ""
    for step, part in zip(steps, parts, strict=True):
        if not part:
            continue
        many = isinstance(step, Group)
        name = f"g-{part[0].id}" if many else None
        jobs += [_part(_following(job, before, ids, on), flow, name) for job in part]
        ids = _results_of(part) if many else part[0].id
        parent = name or _whole(part[0])
        before = (After(parent, on),)
    last = parent if ids == parent else None
    return Flow(flow, (*jobs, *_undoing(steps, After(parent, On.FAILURE))), last)


def _undoing(steps: Sequence[Step], end: After) -> Iterable[JobRequest]:
    """The compensations, the last step's first; each waits for the one before it."""
    before: tuple[After, ...] = ()
    for step in reversed(steps):
        if isinstance(step, Undoable) and _whole(step.job) != end.parent:
            undo = _following(step.undo, (After(_whole(step.job)),), step.job.id, On.SUCCESS)
            after = _merged((*undo.after, end, *before))
            yield msgspec.structs.replace(undo, after=after)
            before = (After(undo.id, On.END),)


def _following(
    job: JobRequest, before: tuple[After, ...], ids: JobId | list[JobId], on: On
) -> JobRequest:
    """The job, after the step before; told of its jobs (or job) if it wants their results."""
    own = tuple(after for after in job.after if after.parent)
    if len(own) == len(job.after):
        return msgspec.structs.replace(job, after=_merged((*own, *before))) if before else job
    if not ids:
        raise ValueError(
            f"previous of {job.task}: there is none in the first step of a chain, nor after a "
            "group with a map in it. Of a group that follows a step, write chain(first, "
            "group(...), last) instead of .then(last); let a map's jobs store their results"
        )
    if len(ids) > MOST_PARENTS and isinstance(ids, list):
        raise ValueError(
            f"previous after a group of {len(ids):,} ({job.task}): {MOST_PARENTS:,} results can be "
            "passed on; let the jobs store theirs, and pass the key"
        )
    parents = ids if isinstance(ids, list) else [ids]
    edges = tuple(After(parent, on, result=True) for parent in parents)
    whole = () if isinstance(ids, list) else before  # a map's jobs, besides its planner
    payload = renamed(job.payload, ids)
    return msgspec.structs.replace(job, payload=payload, after=_merged((*own, *whole, *edges)))


def _merged(edges: tuple[After, ...]) -> tuple[After, ...]:
    """One edge a parent: the later one's, with the result if any asks for it."""
    found: dict[JobId, After] = {}
    for edge in edges:
        known = found.get(edge.parent)
        wanted = edge.result or (known is not None and known.result)
        found[edge.parent] = After(edge.parent, edge.on, wanted)
    return tuple(found.values())


def _results_of(group: Sequence[JobRequest]) -> list[JobId]:
    """Whose results are those of a group; none: there is a map in it."""
    ids = [job.id for job in group]
    return ids if ids == [_whole(job) for job in group] else []


def _whole(job: JobRequest) -> JobId:
    return whole_of(job.id, job.group)


def _part(job: JobRequest, flow: JobId, name: JobId | None = None) -> JobRequest:
    if name is None and _whole(job) != job.id:
        name = job.group
    return msgspec.structs.replace(job, flow=flow, group=name)


def _parts(step: Step) -> tuple[JobRequest, ...]:
    if isinstance(step, Group):
        return step.jobs
    if isinstance(step, Undoable):
        _requests([step.undo])
        step = step.job
    return _requests([step])


def _flow_id(jobs: Sequence[JobRequest]) -> JobId:
    if not jobs:
        raise ValueError("a flow has at least one job")
    return f"f-{jobs[0].id}"


def _requests(jobs: Iterable[object]) -> tuple[JobRequest, ...]:
    found: list[JobRequest] = []
    for job in jobs:
        if isinstance(job, Flow | Group | Undoable):
            raise TypeError(
                f"flows do not nest, and this holds a {type(job).__name__}: in one chain(...) "
                "write the steps of the other one after the other, a group as a step of its own; "
                "for any other graph use workflow() and result_of"
            )
        if not isinstance(job, JobRequest):
            listed = isinstance(job, list | tuple)
            remedy = "; of a list, chain(*steps), workflow(*jobs) or group(jobs)" if listed else ""
            what = f"a {type(job).__name__}" if listed else shown(job)
            raise TypeError(f"a flow is made of what task.job(...) makes, not {what}{remedy}")
        found.append(job)
    return tuple(found)
