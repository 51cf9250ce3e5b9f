"""Tools to test code that uses Backline, and Backline itself: time, faults, simulation."""

from backline.testing.idempotence import assert_idempotent

__all__ = ["assert_idempotent"]
