"""Workflows as a producer makes them: shapes, arguments, handles."""

import pytest

from backline import (
    App,
    BacklineError,
    Batch,
    ConfigError,
    FlowNotFound,
    FlowStatus,
    InvalidArguments,
    JobFailed,
    QueueFull,
    State,
    UnknownParent,
    chain,
    group,
    previous,
    result_of,
    undoable,
    workflow,
)
from backline.app import flowing
from backline.parents import After, On

app = App("memory://")
ran: list[int] = []


@app.task
def give(value: int) -> int:
    ran.append(value)
    return value


@app.task
def nothing(value: int | None) -> bool:
    return value is None


@app.task
def add(a: int, b: int = 0) -> int:
    return a + b


@app.task
def total(values: list[int]) -> int:
    return sum(values)


@app.task(batch=10)
def doubled(batch: Batch[int, int]) -> None:
    for item in batch:
        item.succeed(2 * item.value)


@app.task
def text(word: str) -> str:
    return word


@app.task(max_attempts=1)
def fail() -> int:
    raise ValueError("no")


@pytest.fixture(autouse=True)
def isolated():
    ran.clear()
    with app.isolated():
        yield


def test_a_chain_hands_results_on_by_position_and_by_name():
    flow = app.enqueue_flow(chain(give.job(1), add.job(2, b=previous), add.job(previous, 10)))
    assert flow.status() is FlowStatus.RUNNING
    app.drain()
    assert (flow.result(), flow.status()) == (13, FlowStatus.SUCCEEDED)
    assert flow.last is not None
    assert "$result" in bytes(flow.last.refresh().payload).decode()


def test_a_step_that_runs_in_batches_gets_results_too():
    flow = app.enqueue_flow(
        chain(give.job(1), group([doubled.job(previous), doubled.job(5)]), total.job(previous))
    )
    app.drain()
    assert flow.result() == 12


def test_groups_are_steps_wherever_they_stand():
    many = group([add.job(previous, 1), add.job(previous, 2)])
    flow = app.enqueue_flow(chain(give.job(10), many, group([]), total.job(previous)))
    app.drain()
    assert flow.result() == 23
    alone = app.enqueue_flow(chain(group([give.job(1)])))
    app.drain()
    assert alone.status() is FlowStatus.SUCCEEDED
    with pytest.raises(BacklineError, match="has no result"):
        alone.result()


def test_a_result_that_does_not_fit_its_argument_fails_the_job_that_takes_it():
    flow = app.enqueue_flow(chain(give.job(1), text.job(previous)))
    app.drain()
    with pytest.raises(JobFailed, match="word"):
        flow.result()


def test_a_chain_that_continues_hands_on_none():
    flow = app.enqueue_flow(chain(fail.job(), nothing.job(previous), on_failure="continue"))
    app.drain()
    assert flow.result() is True
    assert flow.status() is FlowStatus.FAILED


def test_compensations_run_in_reverse_and_only_of_what_succeeded():
    steps = [undoable(give.job(n), undo=give.job(-n)) for n in (1, 2)]
    flow = chain(*steps, fail.job(), undoable(give.job(3), undo=give.job(-3)), give.job(4))
    app.enqueue_flow(flow)
    app.drain()
    assert ran == [1, 2, -2, -1]
    ran.clear()
    app.enqueue_flow(chain(undoable(give.job(1), undo=give.job(-1)), give.job(2)))
    app.drain()
    assert ran == [1, 2]


def test_a_compensation_runs_when_the_flow_is_cancelled():
    flow = app.enqueue_flow(
        chain(undoable(give.job(1), undo=give.job(-1)), give.using(delay="1h").job(2))
    )
    app.drain()
    assert flow.cancel() == 1
    app.drain()
    assert ran == [1, -1]
    assert flow.status() is FlowStatus.CANCELLED
    assert flow.cancel() == 0


def test_a_graph_waits_by_after_and_by_results():
    first, second = give.job(1), give.job(2)
    third = add.using(after=[second, first]).job(result_of(first))
    assert third.after == (After(second.id), After(first.id, On.SUCCESS, result=True))
    flow = app.enqueue_flow(workflow(first, second, third))
    app.drain()
    assert flow.result() == 1
    late = add.using(after=[app.job(third.id), first.id], if_parent_fails="continue").enqueue(1)
    app.drain()
    assert late.status() is State.SUCCEEDED


def test_enqueueing_a_flow_again_adds_nothing():
    flow = chain(give.job(1), group([give.job(2), give.job(3)]), give.job(4))
    app.enqueue_flow(flow)
    again = app.enqueue_flow(flow)
    app.drain()
    app.enqueue_flow(flow)
    app.drain()
    assert ran == [1, 2, 3, 4]
    assert again.progress().added == 4
    assert app.flow(flow.id).status() is FlowStatus.SUCCEEDED


def test_a_flow_in_bites_ends_with_its_last_step(monkeypatch):
    monkeypatch.setattr(flowing, "JOBS_A_COMMIT", 3)
    flow = app.enqueue_flow(group([give.job(n) for n in range(8)]).then(give.job(99)))
    app.drain()
    assert (sorted(ran[:-1]), ran[-1]) == ([*range(8)], 99)
    assert flow.progress().ended == 9


def test_a_bite_that_is_refused_cancels_those_that_went_in(monkeypatch):
    monkeypatch.setattr(flowing, "JOBS_A_COMMIT", 3)
    app.queue("small", max_depth=4)
    jobs = [give.using(queue="small").job(n) for n in range(8)]
    flow = group(jobs).then(give.job(99))
    with pytest.raises(QueueFull):
        app.enqueue_flow(flow)
    app.drain()
    assert ran == []
    assert app.flow(flow.id).status() is FlowStatus.CANCELLED


def test_a_group_is_made_of_its_jobs_or_of_a_list_of_them():
    jobs = [give.job(1), give.job(2)]
    assert group(*jobs) == group(jobs) == group(iter(jobs))
    assert group(jobs[0]) == group(jobs[:1])
    assert group() == group([])


def test_a_step_alone_is_a_flow():
    for step, most in ((give.job(1), 1), (group(give.job(1), give.job(2)), 2)):
        flow = app.enqueue_flow(step)
        app.drain()
        assert (flow.status(), flow.progress().added) == (FlowStatus.SUCCEEDED, most)


def test_what_does_not_nest_names_what_to_write():
    inner = chain(give.job(1), add.job(previous))
    for make in (
        lambda: chain(inner, give.job(1)),
        lambda: group(inner, give.job(1)),
        lambda: group([group(give.job(1))]),
        lambda: group(undoable(give.job(1), undo=give.job(2))),
        lambda: workflow(inner),
        lambda: undoable(inner, undo=give.job(1)),
    ):
        with pytest.raises(TypeError, match=r"do not nest.*workflow\(\) and result_of") as raised:
            chain(make(), give.job(3))
        assert len(str(raised.value)) < 500
    with pytest.raises(ValueError, match=r"chain\(first, group\(\.\.\.\), last\)"):
        chain(give.job(1), group([add.job(previous, 1)]).then(total.job(previous)))
    for make in (
        lambda: chain([give.job(1)]),
        lambda: workflow([give.job(1)]),
        lambda: app.enqueue_flow([give.job(1)]),
    ):
        with pytest.raises(TypeError, match=r"a list.*chain\(\*steps\)"):
            make()
    with pytest.raises(TypeError, match="group takes jobs"):
        group(None)
    for one, other in ((give.job(1), give.job(2)), (give.job(1), group()), (group(), give.job(1))):
        with pytest.raises(TypeError, match=r"chain\(a, b\)"):
            one | other


def test_what_cannot_be_is_told_before_anything_is_sent():
    with pytest.raises(ValueError, match="first step"):
        chain(give.job(previous))
    with pytest.raises(ValueError, match="at least one job"):
        chain()
    with pytest.raises(TypeError, match="not 3"):
        chain(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stop or continue"):
        chain(give.job(1), on_failure="later")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="group of 1,001"):
        group([give.job(1) for _ in range(1_001)]).then(total.job(previous))
    with pytest.raises(UnknownParent, match="a chain"):
        give.enqueue(previous)
    with pytest.raises(InvalidArguments):
        total.job([previous])
    with pytest.raises(ConfigError, match="after="):
        give.using(after="not a list")
    with pytest.raises(ConfigError, match=r"after= is for one job"):
        app.task(after=["a job"])(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(UnknownParent):
        give.using(after=["nobody"]).enqueue(1)
    with pytest.raises(FlowNotFound):
        app.flow("nobody").progress()
