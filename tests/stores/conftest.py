"""Lets the asserts of the exported suite show their values."""

import pytest

pytest.register_assert_rewrite("backline.testing.conformance")
