"""`queues`, `jobs`, `job`, `dead`: what they show, and what they refuse."""

import json

import pytest
from msgspec import Raw

from backline.fanout import Publication
from backline.job import (
    MINUTE,
    AttemptError,
    Awaited,
    Charge,
    FollowUp,
    JobRequest,
    Limits,
    Pacing,
    Step,
)
from backline.states import State
from backline.store import QueueSettings

HOSTILE = "\x1b[2Jevil\r\nID  forged\u202e\x9b31m\u2028"


def test_queues_shows_depth_states_age_rate_limit_and_pauses(shell):
    shell.enqueue(3)
    shell.enqueue(1, delay=60_000_000)
    shell.lease(count=1)
    shell.clock.advance("90s")
    shell.ok("pause", "mail")
    head, row = shell.ok("queues").splitlines()
    assert head.split()[:3] == ["QUEUE", "READY", "SCHEDULED"]
    assert row.split() == ["mail", "2", "1", "0", "1", "0", "0", "3", "1m30s", "0/s", "paused"]


def test_limits_are_shown(shell):
    limits = Limits("alice", 2, rate_key="api", pacing=Pacing(600_000, 3))
    [job] = shell.enqueue(limits=limits)
    settings = QueueSettings(queue="mail", concurrency=5, pacing=Pacing(100_000))
    shell.on(lambda store: store.configure([settings]))
    row = shell.ok("queues").splitlines()[1]
    assert "0/5" in row
    assert row.endswith("starts each 100 ms")
    [queue] = shell.json("queues")
    assert (queue["concurrency"], queue["rate_interval_seconds"], queue["burst"]) == (5, 0.1, 1)
    shown = shell.ok("job", job)
    assert "2 of the key alice at a time; api starts each 600 ms, 3 at once after a rest" in shown
    [record] = shell.json("jobs")
    assert (record["concurrency_key"], record["concurrency"], record["rate_key"]) == (
        "alice",
        2,
        "api",
    )


def test_queues_as_json_has_stable_keys(shell):
    shell.enqueue(2)
    shell.clock.advance("1m30s")
    [queue] = shell.json("queues")
    assert queue == {
        "queue": "mail",
        "paused": False,
        "depth": 2,
        "max_depth": None,
        "concurrency": None,
        "rate_interval_seconds": None,
        "burst": None,
        "waiting": 0,
        "scheduled": 0,
        "ready": 2,
        "running": 0,
        "succeeded": 0,
        "dead": 0,
        "cancelled": 0,
        "expired": 0,
        "purged": 0,
        "waiting_for_cell": 0,
        "oldest_ready_at": "2026-01-01T00:00:00.000000Z",
        "oldest_ready_seconds": 90.0,
        "drain_rate": 0.0,
        "arrival_rate": 0.0,
        "asleep": 0,
        "fair": False,
        "weights": {},
        "ageing_seconds": None,
    }


def test_queues_of_an_empty_store_and_of_names(shell):
    assert "no queues yet" in shell.run("queues").stderr
    shell.enqueue(queue="mail")
    shell.enqueue(queue="pdf")
    assert [queue["queue"] for queue in shell.json("queues", "pdf")] == ["pdf"]
    result = shell.run("queues", "mial")
    assert result.exit_code == 1
    assert "did you mean 'mail'?" in result.stderr


def test_pause_and_resume(shell):
    shell.enqueue()
    assert shell.ok("pause", "mail") == "mail: paused\n"
    assert shell.ok("pause", "mail") == "mail: paused, as before\n"
    assert shell.lease() == []
    assert shell.json("resume", "mail") == [{"queue": "mail", "paused": False, "changed": True}]
    assert len(shell.lease()) == 1


def test_pausing_a_queue_that_is_not_there_takes_a_flag(shell):
    result = shell.run("pause", "mail")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "error: there is no queue 'mail'",
        "  try: add --new to pause a queue before its first job",
    ]
    shell.ok("pause", "mail", "--new")
    shell.enqueue()
    assert shell.lease() == []


def test_jobs_lists_the_newest_first_and_pages(shell):
    ids = shell.enqueue(5)
    first = shell.run("jobs", "-n", "2")
    shown = [line.split()[0] for line in first.stdout.splitlines()[1:]]
    assert shown == [ids[4], ids[3]]
    assert f"--after {ids[3]}" in first.stderr
    rest = shell.json("jobs", "--after", ids[3])
    assert [job["id"] for job in rest] == [ids[2], ids[1], ids[0]]
    oldest = shell.json("jobs", "--oldest-first", "-n", "1")
    assert [job["id"] for job in oldest] == [ids[0]]


def test_jobs_with_all_goes_on_beyond_a_page(shell):
    ids = shell.enqueue(450)
    assert [job["id"] for job in shell.json("jobs", "--all")] == ids[::-1]


def test_jobs_filters(shell):
    [mail] = shell.enqueue(tags=("eu",))
    [pdf] = shell.enqueue(task="app.render", queue="pdf")
    [late] = shell.enqueue(delay=60_000_000)

    def found(*words):
        return [job["id"] for job in shell.json("jobs", *words)]

    assert found("-q", "pdf") == [pdf]
    assert found("--task", "app.send") == [late, mail]
    assert found("--tag", "eu") == [mail]
    assert found("-s", "scheduled") == [late]
    assert found("-s", "scheduled", "-s", "ready", "-q", "mail") == [late, mail]
    assert "no jobs match" in shell.run("jobs", "--tag", "us").stderr
    assert shell.run("jobs", "-s", "finished").exit_code == 2


def test_jobs_shows_arguments_as_a_call(shell):
    shell.enqueue(payload=Raw(b'[[42,"x"],{"loud":true}]'))
    assert shell.ok("jobs").splitlines()[1].endswith('now       42, "x", loud=true')


def test_job_shows_everything(shell):
    [job] = shell.enqueue(payload=Raw(b"[[42],{}]"), tags=("eu",), priority=7)
    shell.lease()
    shell.clock.advance("2s")
    error = AttemptError(
        attempt=1, kind="app.Broken", message="no\nuser", traceback="Traceback:\n  File app.py\n"
    )
    shell.end([job], State.SCHEDULED, error=error, charge=Charge.FAILURE, delay=1_000_000)
    shell.clock.advance("1s")
    shell.on(lambda store: store.promote(10))
    shell.lease()
    shell.clock.advance("3s")
    shell.end([job], State.SUCCEEDED, result=Raw(b'{"sent":true}'))
    out = shell.ok("job", job)
    for line in (
        "state      succeeded",
        "arguments  42",
        'result     {"sent":true}',
        "runs       2; failed 1 of 5",
        "priority   7",
        "tags       eu",
        "attempt 1, ",
        "  app.Broken: no\\nuser",
        "      File app.py",
    ):
        assert line in out, line
    assert "after 3 s" in out


def test_job_as_json(shell):
    [job] = shell.dead(payload=Raw(b'[[42],{"x": [1, 2]}]'))
    shell.clock.advance("1h")
    [found] = shell.json("job", job)
    assert found["args"] == [42]
    assert found["kwargs"] == {"x": [1, 2]}
    assert found["state"] == "dead"
    assert found["finished_at"] == "2026-01-01T00:00:00.000000Z"
    assert found["errors"][0]["kind"] == "app.Broken"
    assert list(found) == list(shell.json("jobs")[0])


def test_an_id_may_be_cut(shell):
    [first] = shell.enqueue()
    shell.clock.advance("2m")
    [second] = shell.enqueue()
    for given in (first, first.upper(), first.replace("-", ""), first[:10], f"{first[:13]}…"):
        assert shell.json("job", given)[0]["id"] == first
    assert shell.json("job", f"{second[:13]}...{second[-4:]}")[0]["id"] == second


def test_a_cut_id_that_several_jobs_have_is_refused(shell):
    first, second = shell.enqueue(2)
    result = shell.run("job", first[:8])
    assert result.exit_code == 1
    assert first in result.stderr
    assert second in result.stderr
    assert shell.json("job", f"{first[:8]}...{first[-6:]}")[0]["id"] == first


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("0123", 1),
        ("01234567-89ab-7def-8123-456789abcdef", 1),
        ("hello", 2),
        ("'; drop table job", 2),
        ("", 2),
        ("0" * 33, 2),
    ],
)
def test_an_id_of_no_job(shell, given, code):
    shell.enqueue()
    result = shell.run("job", given)
    assert result.exit_code == code
    assert "backline jobs" in result.stderr


def test_dead_says_why_and_counts_reasons(shell):
    ids = shell.dead(2)
    shell.dead(task="app.render", queue="pdf")
    rows = shell.ok("dead", "-q", "mail").splitlines()[1:]
    assert [row.split()[0] for row in rows] == ids[::-1]
    assert all(row.endswith("1/5     now   app.Broken: no such user") for row in rows)
    assert shell.json("dead", "--reasons") == [
        {"queue": "mail", "task": "app.send", "kind": "app.Broken", "count": 2},
        {"queue": "pdf", "task": "app.render", "kind": "app.Broken", "count": 1},
    ]
    assert shell.ok("dead", "--reasons").splitlines()[1].split() == [
        "2",
        "mail",
        "app.send",
        "app.Broken",
    ]
    assert len(shell.json("dead", "-n", "1")) == 1


def test_nothing_is_dead(shell):
    assert "no dead jobs" in shell.run("dead").stderr
    assert "no dead jobs" in shell.run("dead", "--reasons").stderr


# Text from jobs is anybody's.


def hostile(shell):
    text = HOSTILE
    [job] = shell.enqueue(
        task=text,
        queue=text,
        payload=Raw(json.dumps([[text], {text: 1}], ensure_ascii=False).encode()),
        tags=(text,),
        headers={text: text},
        unique_key=text,
    )
    shell.lease(text)
    error = AttemptError(attempt=1, kind=text, message=text, traceback=f"Traceback\n{text}\n")
    shell.end([job], State.DEAD, error=error)
    return job


@pytest.mark.parametrize(
    "command", [["queues"], ["jobs"], ["dead"], ["dead", "--reasons"], ["job"], ["resume"]]
)
@pytest.mark.parametrize("how", [[], ["--json"]])
def test_hostile_text_neither_drives_the_terminal_nor_forges_a_line(shell, command, how):
    job = hostile(shell)
    words = [*command, *{"job": [job], "resume": [HOSTILE]}.get(command[0], []), *how]
    result = shell.run(*words)
    assert result.exit_code == 0
    for line in (result.stdout + result.stderr).split("\n"):
        assert line.isprintable()
        assert not line.startswith(("ID  forged", "evil"))
    if how:
        assert any(HOSTILE in texts(json.loads(line)) for line in result.stdout.splitlines())


def texts(value):
    """Every text within a JSON value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for each in inner for text in texts(each)]


def test_an_error_escapes_what_it_repeats(shell):
    result = shell.run("queues", HOSTILE)
    assert result.exit_code == 1
    assert all(line.isprintable() for line in result.stderr.split("\n"))


@pytest.mark.parametrize(
    "payload", [b"nonsense", b"\xff\xfe", b"[1,2]", b'[[1],{"a":1}', b"[[1e999],{}]", b"null"]
)
def test_a_malformed_payload_is_shown_as_it_is(shell, payload):
    [job] = shell.enqueue()
    shell.plant("update job set payload = cast(? as text)", payload)
    [found] = shell.json("job", job)
    assert found["args"] is None or isinstance(found["args"], list)
    assert shell.run("job", job).exit_code == 0
    assert shell.run("jobs").exit_code == 0


def test_the_keys_of_a_job_are_a_promise(shell):
    shell.enqueue()
    assert list(shell.json("jobs")[0]) == [
        *("id", "task", "queue", "state", "lane", "priority", "args", "kwargs", "attempt"),
        *("failures", "max_attempts", "losses", "releases", "timeout_seconds", "unique_key"),
        *("concurrency_key", "concurrency", "rate_key"),
        *("headers", "tags", "enqueued_at", "due_at", "started_at", "finished_at"),
        *("expires_at", "purge_at", "worker", "cancel_requested", "result", "progress"),
        *("flow", "group", "after", "before", "errors", "steps", "asleep", "recorded"),
        *("callbacks", "redrives", "fair_key"),
    ]


def test_a_job_names_its_callbacks(shell):
    follow_up = FollowUp((State.DEAD, State.EXPIRED), JobRequest(id="", task="app.ala\x1brm"))
    job = shell.enqueue(follow_ups=(follow_up,))[0]
    assert "app.ala\\x1brm on dead/expired" in shell.ok("job", job)
    [found] = shell.json("job", job)
    assert found["callbacks"] == [{"task": "app.ala\x1brm", "on": ["dead", "expired"]}]


def test_jobs_of_a_task_that_is_not_there_are_none_and_the_name_is_questioned(shell):
    shell.enqueue()
    told = "no job is of a task 'send'; did you mean 'app.send'?"
    for words in (("jobs",), ("dead",), ("cancel", "--dry-run"), ("edit", "--now"), ("redrive",)):
        result = shell.run(*words, "--task", "send")
        assert result.exit_code == 0
        assert told in result.stderr
    assert "of a task" not in shell.run("cancel", "--task", "app.send").stderr
    assert "of a task" not in shell.run("redrive", "--task", "app.send").stderr


def test_arguments_are_short_in_a_list_and_left_out_where_there_are_none(shell):
    [long] = shell.enqueue(payload=Raw(b'[["' + b"x" * 300 + b'"],{}]'))
    [none] = shell.enqueue()
    assert max(map(len, shell.ok("jobs").splitlines())) < 180
    assert "x" * 300 in shell.ok("job", long)
    assert "arguments" not in shell.ok("job", none)


def test_jobs_by_the_class_of_their_error(shell):
    [job] = shell.dead()
    assert job in shell.ok("jobs", "--error", "Broken")


def test_jobs_of_a_queue_that_is_not_there_are_none_and_the_name_is_questioned(shell):
    shell.enqueue()
    result = shell.run("jobs", "-q", "mial")
    assert result.exit_code == 0
    assert result.stderr == "no jobs match; did you mean the queue 'mail'?\n"
    assert shell.run("dead", "-q", "mial").stderr.startswith("no dead jobs; did you mean")


def test_job_shows_its_steps_and_until_when_it_sleeps(shell):
    [job] = shell.enqueue()
    shell.lease()
    shell.on(lambda store: store.record([Step(job, 1, "cha\x1b[2Jrge", Raw(b'{"paid":5}'))]))
    shell.on(lambda store: store.record([Step(job, 1, "nothing")]))
    nap = Step(job, 1, "cooling-off", wake_in=86_400_000_000)
    shell.end([job], State.SCHEDULED, delay=86_400_000_000, asleep=True, steps=(nap,))
    out = shell.ok("job", job)
    assert "scheduled (asleep until " in out
    assert "\x1b" not in out
    shown = [line.split() for line in out.splitlines() if line.strip()]
    head = shown.index(["STEP", "RUN", "RECORDED", "VALUE"])
    assert [line[-1] for line in shown[head + 1 : head + 2]] == ['{"paid":5}']
    assert shown[head + 2][0] == "nothing"
    assert shown[head + 3][0] == "cooling-off"
    assert "a sleep until" in " ".join(shown[head + 3])
    [found] = shell.json("job", job)
    assert (found["steps"], found["asleep"]) == (3, True)
    assert [step["name"] for step in found["recorded"]][1:] == ["nothing", "cooling-off"]
    assert [step["value"] for step in found["recorded"]] == [{"paid": 5}, None, None]
    [queue] = shell.json("queues")
    assert (queue["asleep"], queue["depth"], queue["scheduled"]) == (1, 0, 1)


def test_job_shows_for_what_it_waits_and_what_came(shell):
    [job] = shell.enqueue()
    shell.lease()
    day, paid = 86_400_000_000, Awaited("payment.settled", "order 7")
    came = Step(job, 1, "came", wake_in=day, awaits=Awaited("seen", "k\x1b"))
    late = Step(job, 1, "late", awaits=Awaited("missed", "k"), over=True)
    shell.on(lambda store: store.record([came, late]))
    event = Publication(id="e", name="seen", key="k\x1b", payload=Raw(b'{"cents":5}'))
    shell.on(lambda store: store.publish([event]))
    wait = Step(job, 1, "wait 1", wake_in=day, awaits=paid)
    shell.end([job], State.SCHEDULED, delay=day, asleep=True, steps=(wait,))
    out = shell.ok("job", job)
    assert "\x1b" not in out
    assert "scheduled (waits for payment.settled order 7, until " in out
    assert '{"cents":5}' in out
    assert "no missed k came" in out
    assert "a wait for payment.settled order 7 until" in out
    [found] = shell.json("job", job)
    assert [(step["event_id"], step["over"]) for step in found["recorded"]] == [
        ("e", True),
        (None, True),
        (None, False),
    ]
    assert (found["recorded"][2]["event"], found["recorded"][2]["key"]) == (paid.name, paid.key)


def test_fairness_is_shown(shell):
    [job] = shell.enqueue(fair_key="alice")
    settings = QueueSettings(queue="mail", weights={"alice": 3.0}, ageing=MINUTE)
    shell.on(lambda store: store.configure([settings]))
    assert shell.ok("queues").splitlines()[1].endswith("fair; ageing 1m")
    [queue] = shell.json("queues")
    assert (queue["fair"], queue["weights"], queue["ageing_seconds"]) == (True, {"alice": 3}, 60)
    assert "alice" in shell.ok("job", job)
    [record] = shell.json("jobs")
    assert record["fair_key"] == "alice"
