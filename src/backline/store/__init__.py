"""The contract between Backline and where its jobs live: see `backline.store.contract`."""

from backline.store.contract import Store
from backline.store.values import (
    ARRIVALS_SPAN,
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
    Scaling,
    Subscriptions,
    Timetable,
    WorkerReport,
)

__all__ = [
    "ARRIVALS_SPAN",
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
    "Scaling",
    "Store",
    "Subscriptions",
    "Timetable",
    "WorkerReport",
]
