"""Lets the asserts of the exported suite show their values; a loop that is about to close."""

import asyncio
from typing import cast

import pytest

pytest.register_assert_rewrite("backline.testing.conformance")


class ClosingLoop:
    """Closed by its own thread after the look at it of another, and before that one's call."""

    @staticmethod
    def is_closed() -> bool:
        return False

    @staticmethod
    def call_soon_threadsafe(*_: object) -> None:
        raise RuntimeError("Event loop is closed")


@pytest.fixture
def closing_loop() -> asyncio.AbstractEventLoop:
    return cast("asyncio.AbstractEventLoop", ClosingLoop())
