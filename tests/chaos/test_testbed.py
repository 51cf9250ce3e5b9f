"""The testbed tells the whole story, whatever is under way when a campaign ends."""

import asyncio
import json

from tests.chaos.checker import check
from tests.chaos.history import monotonic
from tests.chaos.testbed import Testbed

from backline.job import JobId
from backline.states import State
from backline.testing.conformance.jobs import BareWorker, done


async def test_what_ends_while_the_jobs_are_counted_is_in_the_story(testbed: Testbed) -> None:
    [job] = await testbed.add("cook", 0.1)
    counted = testbed.unfinished

    async def unfinished() -> int:
        """What there is of the history has been read when the job runs, and ends."""
        await _run(testbed, job)
        return await counted()

    testbed.unfinished = unfinished
    story = await testbed.quiet()
    assert story.records[job].state is State.SUCCEEDED
    assert [found for found in check(story) if found.startswith("c1")] == []


async def _run(testbed: Testbed, job: JobId) -> None:
    """As a worker does: note the start and the end, and only then tell the store."""
    fields = {"pid": 1, "mono": monotonic(), "job": job, "attempt": 1, "task": "diner.cook"}
    events = ({"what": "start"}, {"what": "end", "how": "ok"})
    (testbed.notes / "1.jsonl").write_text(
        "".join(json.dumps(event | fields) + "\n" for event in events)
    )
    worker = BareWorker(testbed.store)
    [lease] = await worker.lease(queue="soup")
    await worker.settle(done(lease))


async def test_the_load_ends_when_what_it_asked_for_is_answered(testbed: Testbed) -> None:
    """Else a job might come when all are counted, and a cancel that nobody knows of."""
    asked, answer = asyncio.Event(), asyncio.Event()
    enqueue, loop = testbed.store.enqueue, asyncio.get_running_loop()

    async def slow(calls):
        asked.set()
        await answer.wait()
        return await enqueue(calls)

    testbed.store.enqueue = slow
    async with testbed.load(("cook", 0.1), most=2):
        await asked.wait()
        loop.call_soon(answer.set)
    assert testbed.intake.acknowledged == testbed.intake.offered != []
