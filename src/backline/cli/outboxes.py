"""What `backline doctor` looks at in the outboxes that an app declares."""

from collections.abc import Sequence
from typing import Final

from backline.cli.findings import SAMPLE, Finding, Findings, Level
from backline.cli.remedies import command, the_app
from backline.cli.session import Session
from backline.cli.text import plural
from backline.display import ago, safe
from backline.errors import StoreError
from backline.job import MINUTE, SECOND, JobId, Micros
from backline.outbox import Outbox
from backline.states import State
from backline.store import Filter

_LATE: Final = 10 * SECOND
_TOO_LATE: Final = 5 * MINUTE


async def examine_outboxes(session: Session, outboxes: Sequence[Outbox]) -> list[Finding]:
    """Rows that were set aside or lie there for long, and completed jobs that are dead."""
    if not outboxes:
        return []
    dead = await session.store.find(Filter(states=frozenset({State.DEAD})), limit=SAMPLE)
    ids = [job.id for job in dead.jobs]
    return [finding for outbox in outboxes for finding in the_outbox(outbox, ids, session.now)]


def the_outbox(outbox: Outbox, dead: Sequence[JobId], now: Micros) -> Findings:
    """One outbox: it can be read, its rows move on, and its completions are believed."""
    database = outbox.open()
    try:
        failed, count = database.failed(1), database.count_failed()
        waiting, oldest = database.backlog(SAMPLE)
        completed = [job_id for job_id in dead if database.completed(job_id) is not None]
    except StoreError as error:
        fix = f"backline migrate --outbox {outbox.url}"
        yield Finding("outbox", Level.WRONG, safe(str(error)), fix)
        return
    finally:
        database.close()
    yield from _aside(outbox, count, failed[0].error if failed else "")
    late = 0 if oldest is None else now - oldest
    if oldest is not None and late > _LATE:
        more = "at least " if waiting == SAMPLE else ""
        yield Finding(
            "outbox",
            Level.WRONG if late > _TOO_LATE else Level.NOTE,
            f"{more}{plural(waiting, 'job')} in {outbox.url} not relayed yet, the oldest written "
            f"{ago(oldest, now)}",
            f"backline worker {the_app()}, or room in a full queue",
        )
    else:
        yield Finding("outbox", Level.OK, f"{outbox.url}: what is committed is relayed")
    for job_id in completed:
        yield Finding(
            "inbox",
            Level.WRONG,
            f"job {job_id} is dead, but an earlier run has committed its effect and its result",
            command(f"retry {job_id}"),
        )


def _aside(outbox: Outbox, count: int, reason: str) -> Findings:
    if count:
        yield Finding(
            "outbox",
            Level.WRONG,
            f"{plural(count, 'job')} in {outbox.url} set aside, the oldest for: {safe(reason)}",
            f"backline relay {the_app()} --retry, or delete the rows of backline_outbox with an "
            "error",
        )
