"""What the options of other job queues are called here."""

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Final

from backline.errors import UnknownOption

_RETRY: Final = "use retry=Retry(...), its base=, cap=, jitter=, delays=, on= and not_on="
_CONTEXT: Final = "annotate the task's first parameter JobContext"
_LOCK: Final = "unique_key= keeps a second live job of the same key out"
_HERE: Final = "that is what .enqueue(...) takes: the task's own arguments and nothing else"

_OURS: Final = {
    "delay=": (
        "countdown schedule_in scheduled_in enqueue_in execute_after start_delay delay_seconds "
        "defer_by _defer_by defer in_ time_delta"
    ),
    "run_at=": (
        "eta run_after schedule_at scheduled_at enqueue_at at defer_until _defer_until schedule "
        "scheduled schedule_by_time datetime when"
    ),
    "queue=": "queue_name _queue_name task_queue entrypoint channel stream",
    "priority= (-100 to 100, higher runs sooner)": "at_front prio",
    "max_attempts= (runs in all; 1 means no retry)": (
        "max_retries retries max_tries attempts maximum_attempts max max_attempt num_retries tries"
    ),
    "timeout=": (
        "time_limit soft_time_limit soft_timeout job_timeout _job_timeout execution_timeout "
        "timeout_seconds start_to_close_timeout schedule_to_close_timeout heartbeat_timeout "
        "visibility_timeout"
    ),
    "expires=": "expires_at expires_in max_age age_limit ttl schedule_to_start_timeout",
    "unique_key= (and unique_for=)": (
        "unique dedupe_key deduplication_id job_id _job_id task_id idempotency idempotency_key "
        "queueing_lock unique_by"
    ),
    "keep=": "result_ttl keep_result _keep_result result_expires retention ignore_result",
    "keep_dead=": "failure_ttl dead_ttl",
    "headers=": "metadata meta labels message_headers correlation_id",
    "tags=": "tag group_tags",
    "within=": "conn connection session transaction tx db_session",
    "on_conflict=": "on_duplicate conflict replace_existing",
    'executor="process" (or "thread", "async")': "process is_process pool use_processes",
}

FOREIGN: Final[Mapping[str, str]] = {
    name: f"use {ours}" for ours, names in _OURS.items() for name in names.split()
} | {
    **dict.fromkeys(
        [
            "retry_delay", "retry_backoff", "retry_backoff_max", "retry_jitter", "retry_kwargs",
            "retry_policy", "retry_strategy", "default_retry_delay", "min_backoff", "max_backoff",
            "autoretry_for", "interval", "retry_when", "throws", "dont_autoretry_for", "wait",
            "exponential_wait", "linear_wait", "retry_exceptions",
        ],
        _RETRY,
    ),
    **dict.fromkeys(
        ["bind", "context", "pass_context", "takes_context", "ctx", "inject", "with_context"],
        _CONTEXT,
    ),
    **dict.fromkeys(["lock", "lock_task", "group_limit", "mutex", "concurrency_limit"], _LOCK),
    **dict.fromkeys(["args", "kwargs", "_args", "_kwargs", "task_kwargs", "payload"], _HERE),
    **dict.fromkeys(
        ["is_async", "task_always_eager", "always_eager", "immediate", "in_memory", "testing"],
        "use `with app.immediate():` or the store memory://",
    ),
    **dict.fromkeys(
        ["serializer", "accept_content", "compression", "pickle"],
        "arguments are JSON, typed by the task's annotations",
    ),
    **dict.fromkeys(
        ["acks_late", "reject_on_worker_lost", "task_acks_late", "acknowledge_late"],
        "leave it out: a job is acknowledged when it has ended, and a lost worker's runs again",
    ),
    **dict.fromkeys(
        ["name_", "task_name", "actor_name", "function", "fn", "typ"],
        "use name= where the task is declared",
    ),
}  # fmt: skip


def unknown_option(name: str, known: Iterable[str], where: str = "") -> UnknownOption:
    """The error for an option that is none of ours: it names the one that is."""
    known = sorted(known)
    remedy = FOREIGN.get(name)
    if remedy is None:
        near = get_close_matches(name, known, n=1) or get_close_matches(
            name, FOREIGN, n=1, cutoff=0.85
        )
        match near:
            case [close] if close in known:
                remedy = f"did you mean {close}=?"
            case [close]:
                remedy = FOREIGN[close]
            case _:
                remedy = f"the options are {', '.join(known)}"
    at = f" of {where}" if where else ""
    return UnknownOption(f"unknown option {name!r}{at}; {remedy}")


def misplaced_option(names: Iterable[str], known: Collection[str]) -> str | None:
    """Where a keyword belongs that was taken for an argument of the task; None for a stranger."""
    for name in names:
        remedy = FOREIGN.get(name)
        ours = name if remedy is None else remedy.removeprefix("use ").partition("=")[0]
        if ours in known:
            return f"options go first: task.using({ours}=...).enqueue(...)"
        if remedy is not None:
            return remedy
    return None
