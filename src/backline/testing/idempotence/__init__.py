"""Whether a task may run more than once: `assert_idempotent`."""

from backline.testing.idempotence.check import assert_idempotent

__all__ = ["assert_idempotent"]
