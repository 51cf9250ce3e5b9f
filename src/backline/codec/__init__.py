"""A task's arguments and result, as typed Python values and as JSON."""

from backline.codec.codec import TaskCodec, untyped

__all__ = ["TaskCodec", "untyped"]
