"""The contract between Backline and where its jobs live: see `backline.store.contract`."""

from backline.store.contract import Store
from backline.store.values import (
    Call,
    Cancelling,
    Capabilities,
    Demand,
    Edit,
    Edited,
    Exchange,
    Filter,
    Hint,
    Page,
    QueueSettings,
    QueueStats,
    Timetable,
    WorkerReport,
)

__all__ = [
    "Call",
    "Cancelling",
    "Capabilities",
    "Demand",
    "Edit",
    "Edited",
    "Exchange",
    "Filter",
    "Hint",
    "Page",
    "QueueSettings",
    "QueueStats",
    "Store",
    "Timetable",
    "WorkerReport",
]
