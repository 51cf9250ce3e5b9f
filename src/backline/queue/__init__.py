"""The producing side over a store: enqueue, and wait for results."""

from backline.queue.admission import OnFull
from backline.queue.queue import Queue

__all__ = ["OnFull", "Queue"]
