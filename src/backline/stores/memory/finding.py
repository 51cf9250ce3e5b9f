"""Pages of jobs."""

from collections.abc import Iterable
from heapq import nlargest, nsmallest
from itertools import islice

from backline.job import JobId, JobRecord
from backline.states import State
from backline.store import Filter, Page
from backline.stores.memory.queue import QueueState
from backline.stores.memory.row import Row
from backline.stores.memory.table import Table


def page(
    table: Table,
    where: Filter,
    limit: int,
    after: JobId | None,
    *,
    oldest_first: bool,
    payloads: bool,
) -> Page:
    """A page of jobs in the order of their ids."""
    members = _candidates(table, where)
    count = sum(len(rows) for rows in members)
    limit = max(limit, 0)
    wanted = limit + 1
    # The cheaper of two ways: sort all candidates, or walk all ids until the page is full.
    if count * count <= wanted * len(table.rows):
        rows = (
            row
            for some in members
            for row in some.values()
            if _matches(row, where) and _beyond(row.id, after, oldest_first=oldest_first)
        )
        choose = nsmallest if oldest_first else nlargest
        found = choose(wanted, rows, key=lambda row: row.id)
    else:
        walk = (table.rows[i] for i in table.ids.walk(after, oldest_first=oldest_first))
        found = list(islice((row for row in walk if _matches(row, where)), wanted))
    jobs: list[JobRecord] = [row.record(payloads=payloads) for row in found[:limit]]
    return Page(jobs, found[limit - 1].id if len(found) > limit > 0 else None)


def _candidates(table: Table, where: Filter) -> list[dict[int, Row]]:
    """All of the jobs that may match."""
    if where.flow is not None:
        return table.flows.members(where.flow)
    queues = _queues(table, where.queue)
    return [queue.members[state] for queue in queues for state in (where.states or State)]


def _queues(table: Table, name: str | None) -> Iterable[QueueState]:
    if name is None:
        return table.queues.values()
    queue = table.queues.get(name)
    return () if queue is None else (queue,)


def _matches(row: Row, where: Filter) -> bool:
    return (
        (not where.states or row.state in where.states)
        and (where.queue is None or row.queue.name == where.queue)
        and (where.task is None or row.request.task == where.task)
        and (where.tag is None or where.tag in row.request.tags)
        and (where.priority is None or row.priority == where.priority)
        and (where.flow is None or _flow(row) == where.flow)
        and (where.enqueued_from is None or row.enqueued_at >= where.enqueued_from)
        and (where.enqueued_before is None or row.enqueued_at < where.enqueued_before)
        and (where.error is None or where.says(row.errors[-1].kind if row.errors else None))
    )


def _flow(row: Row) -> JobId | None:
    group = None if row.ties is None else row.ties.group
    return None if group is None else group.flow


def _beyond(job_id: JobId, after: JobId | None, *, oldest_first: bool) -> bool:
    return after is None or (job_id > after if oldest_first else job_id < after)
