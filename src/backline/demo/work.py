"""Runs the service's workers, as `nice backline worker backline.demo.tasks:app` does.

python -m backline.demo.work PROCESSES
"""

import os
import sys
from typing import Final

from backline.supervisor.linux import die_with_parent
from backline.supervisor.loop import supervise
from backline.supervisor.settings import SupervisorSettings

_NICENESS: Final = 10
"""Behind the service where both want a core: it has users who wait, a queue has not."""


def main() -> None:
    """Supervise until SIGTERM. One job at a time in each process: Pillow takes a whole core."""
    if not die_with_parent(os.getppid()):
        sys.exit(1)
    os.nice(_NICENESS)
    settings = SupervisorSettings(
        target="backline.demo.tasks:app", processes=int(sys.argv[1]), concurrency=1
    )
    sys.exit(supervise(settings))


if __name__ == "__main__":
    main()
