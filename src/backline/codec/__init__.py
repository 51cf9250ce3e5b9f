"""A task's arguments and result, as typed Python values and as JSON."""

from backline.codec.codec import TaskCodec

__all__ = ["TaskCodec"]
