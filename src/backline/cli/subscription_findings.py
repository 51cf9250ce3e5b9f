"""What `backline doctor` looks at in the subscriptions of a store."""

import shlex
from collections.abc import Sequence

from backline.cli.findings import Finding, Findings, Level, Patient, known_tasks
from backline.cli.remedies import command
from backline.cli.text import plural
from backline.display import safe
from backline.fanout import SubscriptionRecord


def the_subscriptions(patient: Patient) -> Findings:
    """Readable, and of tasks that workers know."""
    found = patient.subscriptions
    damaged = [each for each in found if each.spec is None]
    known = known_tasks(patient.workers)
    orphans = [
        each
        for each in found
        if each.spec is not None and known is not None and each.spec.job.task not in known
    ]
    if damaged:
        yield Finding(
            "events",
            Level.WRONG,
            f"what is stored of {_named(damaged)} cannot be read: it gets no event",
            f"restart the workers that declare it, or: {_drop(damaged)}",
        )
    if orphans:
        yield Finding(
            "events",
            Level.WRONG,
            f"no live worker knows the task of {_named(orphans)}: jobs of events pile up",
            f"deploy the code that has it, or: {_drop(orphans)}",
        )
    if found and not damaged and not orphans:
        yield Finding("events", Level.OK, plural(len(found), "subscription"))


def _named(found: Sequence[SubscriptionRecord]) -> str:
    """ "subscription a", "3 subscriptions, such as a": safe to print."""
    first, count = safe(found[0].name), len(found)
    more = f"{plural(count, 'subscription')}, such as {first}"
    return f"subscription {first}" if count == 1 else more


def _drop(found: Sequence[SubscriptionRecord]) -> str:
    return command(f"subscriptions drop {safe(shlex.quote(found[0].name))}")
