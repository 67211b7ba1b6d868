"""Mutation spot check of ``mmcell.metrics`` and ``mmcell.stats``: ``python -m tests.mutation --per-module 3 --seed 0``.

Needs cosmic-ray, which makes the mutants. Each is tried in a copy of the checkout with the test files of its module,
then with what holds for every metric. What survives and is not argued in ``argued.json`` makes the exit code 1.
"""

import argparse
import importlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: What most scores and every claim go through: twice as many mutants.
CENTRAL = {
    "metrics": "brier calibration classification concordance kaplan_meier mixing precision ranks regression retrieval",
    "metrics/alignment": "acceptance clusters connections graph isolated label_transfer silhouette simpson variance",
    "stats": "bootstrap comparison contrasts family multiplicity permutation power swap units welch",
}
#: What holds for every metric, asked where a mutant outlives the tests of its own module.
INVARIANTS = "tests/metrics/test_base.py"
#: Loaded once, before any mutant: each is tried in a fork of this process.
HEAVY = ("anndata", "hypothesis.strategies", "numba", "ot", "pytest", "scanpy", "scipy.stats", "sklearn.metrics")


def modules():
    """Return name -> (path, test files), relative to the checkout; ``tests.json`` names those of another name."""
    told, found = json.loads((HERE / "tests.json").read_text()), {}
    for folder in CENTRAL:
        for path in sorted((ROOT / "mmcell" / folder).glob("[!_]*.py")):
            name = f"{folder}/{path.stem}"
            files = told.get(name, [f"{folder}/test_{path.stem}.py"])
            found[name] = f"mmcell/{name}.py", [f"tests/{file}" for file in files]
    return found


def _plain(njit, mutated):
    """Return what leaves the kernels of a module, and of those that import it, plain Python.

    Compiling every mutant takes longer than it saves, and an index out of bounds is found. Others come from a cache.
    """

    def decorate(*signature, **options):
        if signature and callable(signature[0]):
            return decorate(**options)(signature[0])

        def choose(kernel):
            there = {kernel.__module__, *(getattr(v, "__module__", "") for v in kernel.__globals__.values())}
            return kernel if mutated in there else njit(*signature, **options)(kernel)

        return choose

    return decorate


def _pytest(copy, path, files, log):
    """Run the tests of the copy of a module in a fork, which ends here: 0 where all pass."""
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    for name in [m for m in sys.modules if m.split(".")[0] in ("tests", "mmcell")]:
        del sys.modules[name]
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    import numba
    import pytest
    from hypothesis import Phase, settings

    numba.njit = _plain(numba.njit, path.removesuffix(".py").replace("/", "."))
    settings.register_profile(
        "mutation", deadline=None, max_examples=40, derandomize=True, database=None,
        phases=(Phase.explicit, Phase.generate),
    )  # fmt: skip
    asked = ["-x", "-q", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-profile", "mutation"]
    os._exit(int(pytest.main([*asked, *files])))


def outcome(copy, path, files, seconds, log):
    """Return ``survived``, ``killed`` or, a way to be killed, ``timeout``."""
    child = multiprocessing.get_context("fork").Process(target=_pytest, args=(copy, path, files, log))
    child.start()
    child.join(seconds)
    if child.is_alive():
        child.kill()
        child.join()
        return "timeout"
    return "killed" if child.exitcode else "survived"


def spot_check(names, per_module, seed, log):
    """Yield (module, mutant, outcome) for the sample of each module; its tests must pass as they are."""
    from tests.mutation.sites import sample

    with tempfile.TemporaryDirectory() as folder:
        copy, stamp = Path(folder) / "mmcell", 1_000_000_000
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "notebooks"))
        os.environ["NUMBA_CACHE_DIR"] = str(Path(folder) / "numba")
        for name in HEAVY:
            importlib.import_module(name)
        for name, (path, files) in names.items():
            since = time.monotonic()
            if outcome(copy, path, files, 1200, log) != "survived":
                sys.exit(f"{name}: its tests do not pass as they are; see --log")
            seconds = 15 + 2 * (time.monotonic() - since)
            source = (copy / path).read_text()
            parent, _, stem = name.rpartition("/")
            for mutant in sample(source, per_module * (2 if stem in CENTRAL[parent].split() else 1), seed):
                stamp += 10  # Python knows its compiled files by time and size, which two mutants may share.
                (copy / path).write_text(mutant.source)
                os.utime(copy / path, (stamp, stamp))
                how = outcome(copy, path, files, seconds, log)
                if how == "survived" and parent == "metrics":
                    how = outcome(copy, path, [INVARIANTS], 600, log)
                yield name, mutant, how
            (copy / path).write_text(source)


def report(found):
    """Print counts of (module, line, outcome, before, after); return how many survivors are not argued."""
    argued = {(a["module"], a["before"], a["after"]) for a in json.loads((HERE / "argued.json").read_text())}
    counts = {module: Counter(f[2] for f in found if f[0] == module) for module in dict.fromkeys(f[0] for f in found)}
    print("| module | mutants | killed | of these by time | survived |\n|---|---:|---:|---:|---:|")
    for module, n in (counts | {"all": sum(counts.values(), Counter())}).items():
        killed = n["killed"] + n["timeout"]
        print(f"| {module} | {n.total()} | {killed} | {n['timeout']} | {n['survived']} |")
    bare = [f for f in found if f[2] == "survived" and (f[0], f[3], f[4]) not in argued]
    for module, line, _, before, after in bare:
        print(f"\nsurvived, not argued: mmcell/{module}.py:{line}\n- {before}\n+ {after}")
    return len(bare)


def main():
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--per-module", type=int, default=3, help="twice as many in the central ones")
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--module", action="append", choices=sorted(modules()), help="default: all")
    asked.add_argument("--log", default=os.devnull, help="what pytest said of the last mutant")
    args = asked.parse_args()
    names, found = {n: at for n, at in modules().items() if not args.module or n in args.module}, []
    for name, mutant, how in spot_check(names, args.per_module, args.seed, args.log):
        found.append((name, mutant.line, how, mutant.before, mutant.after))
        print(json.dumps(found[-1], ensure_ascii=False), file=sys.stderr, flush=True)
    sys.exit(1 if report(found) else 0)


if __name__ == "__main__":
    main()
