"""Named fault points: places where a test may make the program fail.

`fault("exchange.after_commit")` does nothing, in some thirty nanoseconds, unless a hook is
installed by `hooked`. The hook gets the point's name and may return (nothing happens), raise
(the call fails here), kill the process, or move a virtual clock (it was slow here).

Points are named `where.when`. In use:

- `<method>.before_commit`, `<method>.after_commit` for every method of `Store` that a
  `backline.testing.flaky.FlakyStore` passes on: the request has arrived and nothing is
  written; all is written and the reply has not left.
- `worker.before_exchange`, `heartbeat.before_extend`, `reaper.before_settle`,
  `recovery.before_settle`, `scheduler.before_tick`: it is decided what to tell the store, and
  nothing is told yet.
- `sqlite.statement`: a statement of a transaction was run, and nothing is committed by it
  unless it is the commit.
- `relay.before_read`, `relay.before_enqueue`, `relay.after_enqueue`, `relay.before_delete`,
  `relay.after_delete`: between the steps of a relay.
- `complete.before_insert`, `complete.after_insert`: around what `job.complete` writes.
- `enqueue.before_send`, `enqueue.after_send`, `publish.before_send`, `publish.after_send`, in
  the code that enqueues or publishes (with `within=` too);
  `map.before_enqueue`, `map.after_enqueue`, in a planner: around the commit of a bite;
  `progress.before_report`, `progress.after_report`, in the code that reports;
  `step.before_record`, `step.after_record`, in the task: its step is done and not on record
  yet; it is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Hook: TypeAlias = Callable[[str], None]
"""Called with the name of the point that was reached."""

_hook: Hook | None = None


def fault(point: str) -> None:
    """The program has reached `point`: let the hook, if there is one, do its worst."""
    if _hook is not None:
        _hook(point)


@contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Call `hook` at every fault point while inside; hooks nest, the innermost is called.

    One hook serves the whole process: not for tests that run side by side in threads.
    """
    global _hook  # noqa: PLW0603 - one global read is all that a point may cost
    outer, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = outer
