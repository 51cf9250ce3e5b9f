"""The headers of a job that was made, but not enqueued yet."""

from collections.abc import Mapping


class MadeHeaders(dict[str, str]):
    """All headers of a job; the hooks of its app gave those that are not in `own`.

    Hooks tell of the moment at which a job is made, its trace say. Who keeps the job for
    later, as a schedule does, keeps `own` alone.
    """

    __slots__ = ("own",)

    def __init__(self, headers: Mapping[str, str], own: Mapping[str, str]) -> None:
        super().__init__(headers)
        self.own = own
        """What the task's options say."""
