"""A task's arguments and result, as typed Python values and as JSON."""

from backline.codec.codec import TaskCodec, hints_of

__all__ = ["TaskCodec", "hints_of"]
