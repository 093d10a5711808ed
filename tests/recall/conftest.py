"""Failures in the shared cases are explained as in a test file."""

import pytest

pytest.register_assert_rewrite("recall.source_cases")
