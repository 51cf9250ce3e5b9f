"""The command line: `backline`, or `python -m backline`."""

import click

from backline._version import __version__
from backline.cli.cancel import cancel
from backline.cli.common import Commands
from backline.cli.demo import demo
from backline.cli.doctor import doctor
from backline.cli.drain import drain
from backline.cli.edit import edit
from backline.cli.enqueue import enqueue, run
from backline.cli.flows import flow
from backline.cli.jobs import dead, job, jobs
from backline.cli.migrate import migrate
from backline.cli.publish import publish, subscriptions
from backline.cli.purge import purge
from backline.cli.queues import pause, queues, resume
from backline.cli.redrive import redrive, retry
from backline.cli.relay import relay
from backline.cli.schedules import schedules
from backline.cli.top import top
from backline.cli.worker import dev, worker

__all__ = ["main"]

_HELP = """Background jobs that are not lost.

\b
Exit status of every command:
    0    done
    1    what was asked for did not happen, or not all of it
    2    bad usage; also no command at all, which prints this help
    3    the store cannot be reached, or refuses to be used as it is
    4    the app could not be loaded
    130  interrupted by Ctrl-C; what was done until then is done

\b
The store is that of --store URL, else of --app MODULE:APP, BACKLINE_URL,
BACKLINE_APP, else sqlite:///backline.db in this directory.
"""


@click.group(
    cls=Commands,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="backline %(version)s")
def main() -> None:
    """See _HELP: the group's help."""


for command in (
    dev,
    worker,
    drain,
    enqueue,
    run,
    publish,
    subscriptions,
    queues,
    pause,
    resume,
    schedules,
    jobs,
    job,
    flow,
    dead,
    cancel,
    edit,
    retry,
    redrive,
    purge,
    migrate,
    relay,
    doctor,
    top,
    demo,
):
    main.add_command(command)
