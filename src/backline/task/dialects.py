"""What the options and methods of other job queues are called here."""

import sys
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Final, Never

from backline.errors import UnknownOption

_RETRY: Final = "use retry=Retry(...), its base=, cap=, jitter=, delays=, on= and not_on="
_CONTEXT: Final = "annotate the task's first parameter JobContext"
_CHAINS: Final = (
    "use task.using(after=[job]), or app.enqueue_flow(chain(first.job(), second.job(previous)))"
)
_NO_CALLBACKS: Final = (
    "what is to follow a job is its on_success= and its on_dead=; what is to surround each run "
    "is @app.middleware"
)
_RATE: Final = 'use rate="100/m" (and burst=, rate_key=)'
_CONCURRENCY: Final = "use concurrency= (and concurrency_key=)"
_HERE: Final = "that is what .enqueue(...) takes: the task's own arguments and nothing else"

_OURS: Final = {
    'cron=, as in @app.task(cron="0 3 * * *")': "crontab periodic cron_expression",
    'every=, as in @app.task(every="30s")': "run_every every_seconds",
    "tz=": "timezone time_zone",
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
        "unique dedupe dedupe_key dedup_key deduplication deduplication_key deduplication_id once "
        "job_id _job_id job_key task_id queueing_lock unique_by singleton singleton_key"
    ),
    'unique_key=, on_conflict="replace", delay= and max_wait=': (
        "debounce debounced debounce_key debounce_delay"
    ),
    'unique_key= and unique_for="1m", which adds one job each minute': (
        "throttle throttled throttle_key"
    ),
    "unique_for=": "lock_ttl unique_period period dedupe_window deduplication_window",
    "fair_key=": "tenant tenant_id tenant_key fairness_key message_group_id fair_by",
    "max_wait=": "max_delay debounce_timeout",
    "idempotency_key=": "idempotency idempotent idempotent_key idempotence_key client_token",
    "keep=": "result_ttl keep_result _keep_result result_expires retention ignore_result",
    "keep_dead=": "failure_ttl dead_ttl",
    "headers=": "metadata meta labels message_headers correlation_id",
    "tags=": "tag group_tags",
    "batch= (the most jobs of a call)": (
        "batch_size max_batch_size batch_max_size batch_size_limit flush_every chunk_size size "
        "max_batch batched"
    ),
    "wait= (and batch=)": ("flush_interval batch_interval batch_max_interval batch_wait linger"),
    "within=": "conn connection session transaction tx db_session",
    "on_conflict=": "on_duplicate conflict replace_existing replace graceful",
    'executor="process" (or "thread", "async")': "process is_process pool use_processes",
}

FOREIGN: Final[Mapping[str, str]] = {
    name: f"use {ours}" for ours, names in _OURS.items() for name in names.split()
} | {
    **dict.fromkeys(
        [
            "retry_delay", "retry_backoff", "retry_backoff_max", "retry_jitter", "retry_kwargs",
            "retry_policy", "retry_strategy", "default_retry_delay", "min_backoff", "max_backoff",
            "autoretry_for", "interval", "retry_when", "throws", "dont_autoretry_for",
            "exponential_wait", "linear_wait", "retry_exceptions",
        ],
        _RETRY,
    ),
    **dict.fromkeys(
        ["bind", "context", "pass_context", "takes_context", "ctx", "inject", "with_context"],
        _CONTEXT,
    ),
    **dict.fromkeys(
        ["lock", "lock_task", "mutex"],
        'use concurrency_key="...": jobs of the key run one after the other; unique_key= keeps a '
        "second live job of the key out",
    ),
    **dict.fromkeys(
        ["rate_limit", "limiter", "rate_limits", "rate_limit_key", "max_per_second"], _RATE
    ),
    **dict.fromkeys(
        ["concurrency_limit", "max_concurrency", "max_concurrent", "group_limit", "global_limit",
         "limits_concurrency", "max_active_runs", "partition_key", "group_key"],
        _CONCURRENCY,
    ),
    **dict.fromkeys(
        ["depends_on", "dependencies", "chain", "link", "pipe_target", "parents"], _CHAINS
    ),
    **dict.fromkeys(
        ["on_failure", "on_error", "on_retry", "on_stopped", "on_complete",
         "link_error", "callback", "callbacks", "errback"],
        _NO_CALLBACKS,
    ),
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

_URL: Final = 'an app has the URL of its store: App("sqlite:///backline.db")'
OF_APP: Final[Mapping[str, str]] = dict.fromkeys(
    [
        "broker", "broker_url", "backend", "result_backend", "connection", "redis", "redis_url",
        "host", "dsn", "database", "filename", "path", "name", "main", "storage", "connector",
    ],
    _URL,
) | {
    "immediate": "use `with app.immediate():` or the store memory://",
    "task_always_eager": "use `with app.immediate():` or the store memory://",
    "include": "import the modules of your tasks where the app is, so that workers know them",
    "autodiscover": "import the modules of your tasks where the app is, so that workers know them",
}  # fmt: skip
OF_QUEUE: Final[Mapping[str, str]] = dict.fromkeys(
    ["maxsize", "max_size", "limit", "size", "capacity", "max_length", "maxlen", "max_jobs"],
    "use max_depth=",
) | dict.fromkeys(
    ["rate_limit", "limiter", "rate_limits"], 'use rate="100/m" (and burst=)'
) | dict.fromkeys(
    ["max_concurrency", "concurrency_limit", "global_limit", "max_running"], "use concurrency="
) | {
    "priority": "priority= is an option of tasks; queues have weights: `-q mail=3,default`",
    "fair": "the fair_key= of its jobs makes a queue fair",
    "fair_key": "fair_key= is an option of tasks",
    "aging": "use ageing=",
    "connection": _URL,
}  # fmt: skip
OF_RETRY: Final[Mapping[str, str]] = dict.fromkeys(
    [
        "max", "max_retries", "retries", "max_attempts", "attempts", "times", "tries",
        "stop_max_attempt_number",
    ],
    "use max_attempts= of the task (runs in all: 3 retries are max_attempts=4)",
) | dict.fromkeys(
    ["interval", "intervals", "waits", "schedule"], "use delays=, or base= and cap="
) | dict.fromkeys(
    ["delay", "countdown", "wait", "min_backoff", "initial", "retry_delay", "start", "seconds"],
    "use base=",
) | dict.fromkeys(
    ["max_backoff", "max_delay", "maximum", "backoff_max", "retry_backoff_max", "max_wait"],
    "use cap=",
) | dict.fromkeys(
    ["factor", "multiplier", "exponential", "backoff_factor", "coefficient"],
    'the wait doubles, or stays with backoff="constant"; delays= gives any other waits',
) | dict.fromkeys(
    ["exceptions", "exc", "autoretry_for", "retry_for", "retry_on", "retry_when"], "use on="
) | dict.fromkeys(["throws", "dont_autoretry_for", "ignore", "exclude"], "use not_on=")  # fmt: skip

_ENQUEUE: Final = "use task.enqueue(...); in async code `await task.aenqueue(...)`"
_LATER: Final = 'use task.using(delay="5m").enqueue(...), or run_at='
OF_TASK: Final[Mapping[str, str]] = dict.fromkeys(
    ["apply_async", "send_with_options", "push", "configure", "set", "options_", "with_options"],
    'options go first: task.using(delay="5m", queue="mail").enqueue(...)',
) | dict.fromkeys(
    ["send", "kiq", "defer", "defer_async", "perform_async", "submit", "spawn", "queue"], _ENQUEUE
) | dict.fromkeys(
    ["schedule", "enqueue_in", "enqueue_at", "perform_in", "perform_at", "send_at"], _LATER
) | dict.fromkeys(
    ["s", "si", "signature", "subtask", "message"],
    "use task.job(...), which makes a job for app.enqueue_many, chain and group",
) | dict.fromkeys(
    ["map", "starmap", "chunks", "enqueue_many"],
    "use app.enqueue_many([task.job(x) for x in xs]), or @app.map(task) for very many",
) | dict.fromkeys(["apply", "call_local", "run", "func"], "call the task: task(...)") | {
    "AsyncResult": "use task.handle(job_id)",
    "delay_on_commit": "use task.using(within=connection).enqueue(...)",
    "request": "use current_job(), or a first parameter annotated JobContext",
}  # fmt: skip
OF_JOB: Final[Mapping[str, str]] = dict.fromkeys(
    ["get", "wait", "get_result", "result_value", "return_result", "join"],
    "use job.result(timeout=5); in async code `await job.aresult(timeout=5)`",
) | dict.fromkeys(
    [
        "state", "get_status", "ready", "successful", "failed", "is_finished", "is_failed",
        "is_queued", "is_started", "done", "finished",
    ],
    "use job.status(), which asks the store; in async code `await job.astatus()`",
) | dict.fromkeys(["revoke", "abort", "stop", "delete", "terminate"], "use job.cancel()") | {
    "traceback": "use job.errors[-1].traceback, after job.refresh()",
    "exc_info": "use job.errors[-1].traceback, after job.refresh()",
    "error": "use job.errors, after job.refresh()",
    "meta": "use job.progress, after job.refresh()",
    "info": "use job.progress, after job.refresh()",
    "requeue": "use job.retry()",
    "redrive": "use job.retry()",
    "task_id": "use job.id",
    "job_id": "use job.id",
    "get_id": "use job.id",
}  # fmt: skip


_DECLARE: Final = "use @app.task, where app = App()"
_BY_ITSELF: Final = 'use @app.task(cron="0 3 * * *") or @app.task(every="30s")'
_WORK: Final = (
    "use the command `backline worker module:app`, or `async with app.worker():` in a service"
)
_HANDLE: Final = "use app.job(job_id), the handle of a job"
_AROUND: Final = "use @app.lifespan around each worker, @app.middleware around each run"
_CURRENT: Final = "use current_job(), or a first parameter annotated JobContext"
_FLOWS: Final = (
    "use app.enqueue_flow(...) of chain(first.job(), second.job(previous)), of "
    "group(a.job(), b.job()) or of group(...).then(body.job(previous))"
)
_SET: Final = (
    "App(url) or BACKLINE_URL names the store; options stand where tasks and queues are declared, "
    "@app.task(...) and app.queue(...)"
)


def _by_name(said: Mapping[str, str]) -> Mapping[str, str]:
    return {name: ours for ours, names in said.items() for name in names.split()}


ON_APP: Final = _by_name(
    {
        'use task.enqueue(...), or app.enqueue("module.task", ...) by its name': (
            "delay apply_async send_task send defer defer_async kiq enqueue_job enqueue_call "
            "enqueue_async perform_async add_job submit insert call"
        ),
        _LATER: "enqueue_in enqueue_at schedule_in schedule_at",
        _DECLARE: "actor register register_task shared_task db_task context_task entrypoint",
        f"{_BY_ITSELF}, or app.schedule(...)": (
            "periodic periodic_task add_periodic_task db_periodic_task on_after_configure "
            "on_after_finalize crontab cron every scheduled_job beat"
        ),
        _SET: "conf config configure config_from_object config_from_envvar settings",
        OF_APP["autodiscover"]: ("autodiscover_tasks autodiscover include imports import_paths"),
        _HANDLE: "AsyncResult GroupResult fetch_job get_job get_result result results",
        "use app.cancel(job_id), and the commands: backline jobs, cancel, purge, queues, pause": (
            "control inspect revoke abort purge flush empty stats pause"
        ),
        _WORK: "worker_main run_worker run_worker_async Worker start run work listen",
        "use app.store, which App(url) or BACKLINE_URL names": (
            "broker backend broker_connection connection connector pool redis storage database "
            "job_manager"
        ),
        _FLOWS: "signature subtask s message canvas chain chord group pipeline",
        _AROUND: (
            "on_startup on_shutdown startup shutdown on_event signal signals add_middleware "
            "add_middlewares with_middlewares pre_execute post_execute"
        ),
        _CURRENT: "current_task current_worker_task current_job",
        "use app.registry": "tasks actors get_task get_actor",
        OF_APP["immediate"]: "always_eager task_always_eager is_async testing in_memory",
        FOREIGN["lock"]: "lock lock_task",
        _RATE: "rate_limit limiter",
        "use app.aopen()": "open_async",
        "use app.aclose()": "close_async",
    }
)
IN_PACKAGE: Final = _by_name(
    {
        'use App("sqlite:///backline.db")': (
            "Celery Huey SqliteHuey RedisHuey MemoryHuey FileHuey Queue Broker RedisBroker "
            "RabbitmqBroker StubBroker InMemoryBroker Backline Client Redis Connection get_broker "
            "set_broker create_pool current_app"
        ),
        _DECLARE: "shared_task actor db_task background_task",
        _BY_ITSELF: "crontab cron periodic_task db_periodic_task every CronTrigger Scheduler",
        _FLOWS: "chord signature subtask canvas pipeline",
        _WORK: "Worker SimpleWorker WorkerSettings run_worker",
        _HANDLE: "AsyncResult GroupResult ResultSet fetch_job",
        'use raise Cancel("why")': "Ignore Reject CancelExecution",
        'use raise RetryLater("60s")': "RetryTask RetryJob TaskRetry TryAgain",
        "use JobFailed": "MaxRetriesExceededError TaskException ResultFailure TaskError",
        _CURRENT: "get_current_job current_task CurrentMessage get_current_task",
        _AROUND: "Middleware signals",
        _RATE: "RateLimiter ConcurrentRateLimiter",
        _ENQUEUE: "enqueue delay send_task apply_async defer",
        _SET: "conf config settings configure",
        OF_APP["autodiscover"]: "autodiscover_tasks",
    }
)
_PAGE: Final = "see docs/how-to/coming-from.md"


def stranger(thing: object, name: str, foreign: Mapping[str, str]) -> AttributeError:
    """The error for an attribute that is none of ours: it names what is.

    Raises the error of a property of that name, in a class of the user's: Python then asks here.
    """
    if hasattr(type(thing), name):
        object.__getattribute__(thing, name)
    remedy = foreign.get(name)
    whose = f"{type(thing).__name__!r} object"
    if isinstance(thing, ModuleType):
        whose = f"module {thing.__name__!r}"
    told = f"{whose} has no attribute {name!r}"
    error = AttributeError(told if remedy is None else f"{told}; {remedy}; {_PAGE}")
    if remedy is None:
        error.name, error.obj = name, thing  # Python itself looks for one that is near
    return error


def missing(name: str) -> Never:
    """The package's `__getattr__`: raises AttributeError; ImportError for `from backline import`,
    which would not pass on what the other one says.
    """
    package = sys.modules[__name__.partition(".")[0]]
    asking = sys._getframe(1).f_code.co_name  # noqa: SLF001 - who imports is told nowhere else
    if name in IN_PACKAGE and asking == "_handle_fromlist":
        here = package.__name__
        told = f"cannot import name {name!r} from {here!r}; {IN_PACKAGE[name]}; {_PAGE}"
        raise ImportError(told, name=here)
    raise stranger(package, name, IN_PACKAGE)


def unknown_option(
    name: str, known: Iterable[str], where: str = "", foreign: Mapping[str, str] = FOREIGN
) -> UnknownOption:
    """The error for an option that is none of ours: it names the one that is."""
    known = sorted(known)
    remedy = foreign.get(name)
    if remedy is None:
        near = get_close_matches(name, known, n=1) or get_close_matches(
            name, foreign, n=1, cutoff=0.85
        )
        match near:
            case [close] if close in known:
                remedy = f"did you mean {close}=?"
            case [close]:
                remedy = foreign[close]
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
