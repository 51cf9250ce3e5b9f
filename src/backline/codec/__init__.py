"""A task's arguments and result, as typed Python values and as JSON."""

from backline.codec.codec import TaskCodec, encode_alone, hints_of
from backline.codec.result import ResultCodec, result_of

__all__ = ["ResultCodec", "TaskCodec", "encode_alone", "hints_of", "result_of"]
