"""Benchmarks, on request only: ``python -m pytest tests/benchmarks -n 0 -s``. mmcell beside its peer, as ratios."""

import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path, config):
    """Leave benchmarks out unless the command line names them."""
    asked = [(config.invocation_params.dir / a.partition("::")[0]).resolve() for a in config.args]
    return None if any(a == HERE or HERE in a.parents for a in asked) else True


def seconds(function):
    begun = time.perf_counter()
    value = function()
    return time.perf_counter() - begun, value


@pytest.fixture
def against(benchmark):
    """Measure `ours` and `peer` side by side and return both values; the ratio of their times is printed and checked.

    The peer, which takes long, is timed once, between two halves of our rounds.
    """

    def measure(what, ours, peer, at_least=None, rounds=6):
        ours()
        before = [seconds(ours)[0] for _ in range(rounds // 2)]
        slow, expected = seconds(peer)
        found = benchmark.pedantic(ours, rounds=rounds // 2)
        after = [seconds(ours)[0] for _ in range(rounds - rounds // 2)]
        fast = sorted([*before, *after])[rounds // 2]
        ratio = slow / fast
        promised = "" if at_least is None else f", promised {at_least} ×"
        print(f"\n{what}: {fast:.4g} s against {slow:.4g} s, {ratio:.0f} × as fast{promised}")
        benchmark.extra_info.update({"ratio": ratio, "peer_seconds": slow})
        assert at_least is None or ratio >= at_least
        return found, expected

    return measure
