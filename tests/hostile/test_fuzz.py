"""The readers under inputs that hypothesis damages; for longer runs see `tests.hostile.fuzz`."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.hostile.properties import READERS, ends_well


def check(name, examples):
    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(READERS[name][1])
    def each(content):
        ends_well(name, content)

    each()


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_input_ends_in_one_line(name):
    check(name, 15)


@pytest.mark.full
@pytest.mark.parametrize("name", READERS)
def test_a_thousand_damaged_inputs_end_in_one_line(name):
    check(name, 1000)
