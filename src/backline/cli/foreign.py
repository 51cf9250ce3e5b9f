"""What people type who come from another queue, and what it is called here."""

from typing import Final

import click

_NO_BEAT: Final = "leave it out: every worker looks after schedules (backline schedules)"
_COMMANDS: Final = {
    "beat": _NO_BEAT,
    "scheduler": _NO_BEAT,
    "inspect": "backline top, or: backline jobs --state running",
    "status": "backline doctor, or: backline top",
    "info": "backline queues",
    "stats": "backline queues",
    "events": "backline top",
    "monitor": "backline top",
    "flower": "backline top",
    "list": "backline jobs",
    "report": "backline doctor",
    "call": "backline enqueue TASK",
    "send": "backline enqueue TASK",
    "result": "backline job ID",
    "show": "backline job ID",
    "revoke": "backline cancel ID",
    "control": "backline pause, resume or cancel",
    "suspend": "backline pause QUEUE",
    "requeue": "backline retry ID, or: backline redrive QUEUE",
    "move": "backline edit ID --to-queue QUEUE",
    "reschedule": "backline edit ID --run-at TIME, --delay or --now",
    "empty": "backline cancel -q QUEUE",
    "clear": "backline cancel -q QUEUE",
    "multi": "backline worker --processes N",
    "start": "backline worker module:app",
    "upgrade": "backline migrate",
}
_OPTIONS: Final = {
    "-Q": "-q",
    "-l": "--log-level info",
    "--loglevel": "--log-level info",
    "-B": _NO_BEAT,
    "--beat": _NO_BEAT,
    "--with-scheduler": "leave it out: every worker promotes the jobs that are due",
    "-P": 'leave it out: coroutines share a loop, functions run in threads, executor="process"',
    "--pool": 'leave it out: coroutines share a loop, functions run in threads, executor="process"',
    "--autoscale": "--processes MIN-MAX",
    "--max-tasks-per-child": "--max-jobs N",
    "--max-memory-per-child": "--max-memory 500M",
    "--max-jobs-per-child": "--max-jobs N",
    "--time-limit": "timeout= of the task, or of the call",
    "--soft-time-limit": "timeout= of the task, or of the call",
    "--threads": "--concurrency N",
    "--workers": "--processes N, or --concurrency N",
    "-w": "--processes N, or --concurrency N",
    "--burst": "backline drain",
    "--watch": "backline dev --reload",
    "--broker": "--store URL, or BACKLINE_URL",
    "-b": "--store URL, or BACKLINE_URL",
    "--url": "--store URL, or BACKLINE_URL",
    "-u": "--store URL, or BACKLINE_URL",
}


def command_here(name: str) -> str:
    """What to type for a command of another queue; "" if it is none that is known."""
    return _COMMANDS.get(name, "")


def option_here(error: click.NoSuchOption) -> str:
    """What to type for an option of another queue; "" if it is none that is known."""
    if error.ctx is not None and error.ctx.parent is None:  # before any command
        return f"{error.option_name} after the command: backline worker {error.option_name} ..."
    return _OPTIONS.get(error.option_name, "")
