"""A task's arguments and result, as typed Python values and as JSON."""

from backline.codec.codec import TaskCodec, encode_alone, hints_of
from backline.codec.links import MARK, Result, renamed, results_in
from backline.codec.result import ResultCodec, result_of

__all__ = [
    "MARK",
    "Result",
    "ResultCodec",
    "TaskCodec",
    "encode_alone",
    "hints_of",
    "renamed",
    "result_of",
    "results_in",
]
