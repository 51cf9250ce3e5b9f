"""What can be set about a supervisor, and its exit codes."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from backline.autoscale import TARGET_WAIT, Rules
from backline.errors import ConfigError
from backline.job import SECOND, Micros
from backline.logs import LogFormat
from backline.worker.settings import DEFAULT_GRACE, DEFAULT_LEASE, SHORTEST_LEASE

EXIT_OK: Final = 0
"""Stopped as asked: what ran finished, or was handed back."""
EXIT_QUIT: Final = 1
"""Stopped at once by a second signal."""
EXIT_STORE: Final = 3
"""The store refuses to be used as it is; the message says what to change."""
EXIT_APP: Final = 4
"""The app cannot be loaded; the message says why."""

SAME_SIGNAL: Final[Micros] = SECOND // 5
"""A signal so soon after the first is that one, sent twice: `timeout` tells us, then our group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisorSettings:
    """What can be set about a supervisor. Raises ConfigError for what cannot work."""

    target: str
    """The app to work for, as `module:attribute`."""
    processes: int = 1
    """How many worker processes to keep; with `max_processes` the least, which may be 0."""
    max_processes: int | None = None
    """Keep as many as the load calls for, up to this; None: always `processes`."""
    target_wait: Micros = TARGET_WAIT
    """With `max_processes`: jobs that wait are to start within this."""
    concurrency: int | None = None
    """Jobs at a time in each worker process; None: the worker's default."""
    queues: Mapping[str, int] | None = None
    """The queues to serve with their weights; None: every queue that the app names."""
    cells: int = 4
    """At most this many one-job processes at once; 0: none, and their jobs wait."""
    cell_idle: Micros = 60 * SECOND
    """A cell that ran nothing for this long is ended."""
    grace: Micros = DEFAULT_GRACE
    """How long running jobs may take to finish at a shutdown or a recycling."""
    lease: Micros = DEFAULT_LEASE
    """A job is free again this long after this supervisor and its worker are both gone."""
    max_jobs: int | None = None
    """Replace a worker process after this many jobs."""
    max_memory: int | None = None
    """Replace a worker process whose resident memory passes this many bytes."""
    log_level: str = "info"
    """What worker processes log: this level and above."""
    log_format: LogFormat = "text"
    events: bool = False
    """Worker processes write a line for every run that ends to standard output."""
    run_dir: Path | None = None
    """Where boards live; None: below XDG_RUNTIME_DIR, else the directory for temporary files."""

    def __post_init__(self) -> None:
        most = self.processes if self.max_processes is None else self.max_processes
        if most < 1:
            raise ConfigError(f"a supervisor keeps at least one worker, not {most}")
        if not 0 <= self.processes <= most:
            raise ConfigError(f"{self.processes} to {most} processes is no range")
        if self.target_wait <= 0:
            raise ConfigError("the target wait is more than 0")
        if self.cells < 0:
            raise ConfigError(f"the number of cells is 0 or more, not {self.cells}")
        if self.concurrency is not None and self.concurrency < 1:
            raise ConfigError(f"concurrency is at least 1, not {self.concurrency}")
        if self.lease < SHORTEST_LEASE:
            raise ConfigError("a lease is at least 1 s: three heartbeats must fit into it")
        for name in ("max_jobs", "max_memory"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is at least 1, not {value}")

    @property
    def rules(self) -> Rules | None:
        """By what to scale; None: there are as many processes as there are."""
        if self.max_processes is None or self.max_processes == self.processes:
            return None
        return Rules(low=self.processes, high=self.max_processes, target_wait=self.target_wait)


def default_run_dir() -> Path:
    """XDG_RUNTIME_DIR if there is one, else a directory of this user's own under /tmp."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_dir() and os.access(runtime, os.W_OK):
        return Path(runtime) / "backline"
    temporary = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - owner and mode are checked
    return Path(temporary) / f"backline-{os.getuid()}"
