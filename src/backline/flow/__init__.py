"""Workflows: jobs that run after others, and what is said of them as a whole."""

from backline.flow.handle import FlowClient, FlowRun, FlowStatus, status_of
from backline.flow.mapping import Mappable, MapTask, make_map
from backline.flow.shape import (
    Flow,
    Group,
    Step,
    Undoable,
    chain,
    flow_of,
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
    "MapTask",
    "Mappable",
    "Step",
    "Undoable",
    "chain",
    "flow_of",
    "group",
    "make_map",
    "previous",
    "result_of",
    "status_of",
    "undoable",
    "workflow",
]
