"""What `backline doctor` looks at in the webhooks that wait."""

from backline.cli.findings import Finding, Findings, Level, Patient
from backline.cli.text import plural
from backline.display import safe
from backline.webhooks import TASK
from backline.webhooks.settings import NO_SECRET


def the_webhooks(patient: Patient) -> Findings:
    """Callbacks to a URL that no worker can sign."""
    unsigned = {
        job.id: job
        for records in patient.queued.values()
        for job in records
        if job.task == TASK and job.errors and job.errors[-1].message.startswith(NO_SECRET)
    }
    if unsigned:
        why = safe(next(iter(unsigned.values())).errors[-1].message)
        what = plural(len(unsigned), "webhook") + f" could not be signed: {why}"
        yield Finding("webhooks", Level.WRONG, what, "set it for the workers, and restart them")
