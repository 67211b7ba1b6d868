"""Fixtures of the report's tests."""

from tests.records import leak, record, score, usual  # noqa: F401
