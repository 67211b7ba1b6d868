"""Fuzz the readers for some minutes: ``python -m tests.hostile.fuzz --minutes 10 --seed 0``.

Inputs are drawn by hypothesis from `tests.hostile.properties`; what fails is made as small as it can be and printed, to
be kept as a case in ``seeds.py``.
"""

import argparse
import sys
import time
import traceback
from collections import Counter

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.hostile.properties import READERS, ends_well

_ROUND = 100


def fuzz(minutes, first, names):
    """Run rounds until the time is over; return reader -> inputs, and reader -> what failed."""
    counted, failed = Counter(), {}
    end, number = time.monotonic() + 60 * minutes, first
    while time.monotonic() < end:
        for name in names:
            if name in failed or time.monotonic() > end:
                continue
            try:
                _round(name, number, counted)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                failed[name] = error
                print(f"{name}, seed {number}: {type(error).__name__}: {error}", file=sys.stderr)
                print("".join(traceback.format_tb(error.__traceback__)[-7:]), file=sys.stderr)
                for note in getattr(error, "__notes__", ()):
                    print(note[:20000], file=sys.stderr)
        if len(failed) == len(names):
            break
        number += 1
    return counted, failed


def _round(name, number, counted):
    @seed(number)
    @settings(
        max_examples=_ROUND, deadline=None, database=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(READERS[name][1])
    def check(content):
        counted[name] += 1
        ends_well(name, content)

    check()


def main():
    asked = argparse.ArgumentParser(description="Fuzz the readers.")
    asked.add_argument("--minutes", type=float, default=10)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--reader", choices=sorted(READERS), action="append")
    given_ = asked.parse_args()
    counted, failed = fuzz(given_.minutes, given_.seed, given_.reader or list(READERS))
    print(f"{sum(counted.values()):,} inputs: " + ", ".join(f"{n} {c:,}" for n, c in sorted(counted.items())))
    print(f"{len(failed)} of {len(counted)} readers failed" + "".join(f"; {n}: {e!r}"[:300] for n, e in failed.items()))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
