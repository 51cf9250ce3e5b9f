"""What callers hand in to be enqueued."""

from collections.abc import Iterable

from backline.display import shown
from backline.job import JobRequest


def requests_of(jobs: Iterable[JobRequest]) -> list[JobRequest]:
    """The jobs of a call. Raises TypeError for anything else, before any is sent."""
    wrong: object = jobs
    if isinstance(jobs, Iterable):
        requests = list(jobs)
        strangers: list[object] = [one for one in requests if type(one) is not JobRequest]
        if not strangers:
            return requests
        wrong = strangers[0]
    raise TypeError(
        "enqueue_many takes a list of what task.job(...) makes, such as "
        f"[task.job(1), task.job(2)], not {shown(wrong)}"
    )
