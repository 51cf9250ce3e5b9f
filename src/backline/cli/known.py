"""What is not there: said with the name that was probably meant."""

import difflib
from collections.abc import Iterable, Sequence

from backline.cli.common import ExitCode, Failure
from backline.display import safe, shown
from backline.job import JobId
from backline.store import Filter, Store


def require_known(names: Sequence[str], known: Iterable[str], kind: str, *, fix: str) -> None:
    """Raises Failure for the first of `names` that is not among `known`; `kind` says of what."""
    there = sorted(known)
    for name in names:
        if name not in there:
            close = closest(name, there)
            guess = f"; did you mean {close!r}?" if close else ""
            raise Failure(
                f"there is no {kind} {shown(name)}{guess}", fix=fix, code=ExitCode.NOT_DONE
            )


async def strange_task(store: Store, task: str | None) -> str:
    """What to say of a `--task` that names none; "" if it does, or if nothing is known of it.

    Known are the tasks of live workers and those of the newest jobs.
    """
    if task is None:
        return ""
    page = await store.find(Filter(task=task), limit=1, payloads=False)
    if page.jobs:
        return ""
    known = {name for worker in await store.workers() for name in worker.tasks}
    if task in known:
        return ""
    known |= {job.task for job in (await store.find(Filter(), limit=200, payloads=False)).jobs}
    named = sorted(name for name in known if name.rpartition(".")[2] == task)
    guess = named[0] if named else closest(task, sorted(known))
    meant = f"; did you mean {shown(guess)}?" if guess else ""
    none = "no job is" if page.after is None else "none of the newest jobs is"
    return f"{none} of a task {shown(task)}{meant}"


def no_flow(flow: JobId) -> str:
    """What to say of the id of a flow that there is not."""
    return f"no flow has the id {safe(flow)} (forgotten, or never enqueued here)"


def closest(name: str, known: Sequence[str]) -> str | None:
    """The one of `known` that `name` was probably meant to be."""
    return next(iter(difflib.get_close_matches(name[:200], known, 1)), None)
