"""Workflows: jobs that run after others, and what is said of them as a whole."""

from backline.flow.handle import FlowClient, FlowRun, FlowStatus
from backline.flow.shape import (
    Flow,
    Group,
    Undoable,
    chain,
    group,
    previous,
    result_of,
    undoable,
    workflow,
)

__all__ = [
    "Flow",
    "FlowClient",
    "FlowRun",
    "FlowStatus",
    "Group",
    "Undoable",
    "chain",
    "group",
    "previous",
    "result_of",
    "undoable",
    "workflow",
]
