"""The process that runs jobs: `loop` leases and records, `runners` run, `monitor` watches."""

from backline.worker.board import Board
from backline.worker.embedded import EmbeddedWorker
from backline.worker.execute import Middleware
from backline.worker.gathering import most_held
from backline.worker.loop import Lifespan, Worker
from backline.worker.run import Observer, Run, StopReason
from backline.worker.settings import WorkerSettings

__all__ = [
    "Board",
    "EmbeddedWorker",
    "Lifespan",
    "Middleware",
    "Observer",
    "Run",
    "StopReason",
    "Worker",
    "WorkerSettings",
    "most_held",
]
