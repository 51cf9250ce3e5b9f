"""The producing side over a store: enqueue, and wait for results."""

from backline.queue.admission import OnFull
from backline.queue.queue import PATIENCE, Queue

__all__ = ["PATIENCE", "OnFull", "Queue"]
