"""mmcell beside its peers, as ratios: ``python -m tests.benchmarks [NAME …]``; see README.md here.

Every side runs in a process of its own, ours before and after its peer, so that whatever else the machine does meets
both. What a peer needs may live in another environment: ``--python patpy=/path/of/python``.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from tests.benchmarks.case import all_cases

ROOT = Path(__file__).parents[2]
TABLE = ("case", "peer", "mmcell, s", "peer, s", "times as fast", "of the first call", "MB", "differs by", "exponent")


def side(case, name, sizes, rounds, folder, python, keep):
    """Run one side in its process; None where its package is not there, else what `tests.benchmarks.side` returns."""
    value = folder / f"{case.name}.npz"
    asked = {"case": case.name, "side": name, "sizes": sizes, "rounds": rounds, "folder": str(folder)}
    command = [python, "-W", "ignore", "-m", "tests.benchmarks.side", json.dumps(asked | {"value": str(value)})]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in done.stderr and name != "mmcell":
        return None
    if done.returncode:
        raise SystemExit(f"{case.name}, {name}: failed\n{done.stderr[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if keep:
        with np.load(value, allow_pickle=False) as arrays:
            found["value"] = dict(arrays)
    return found


def seconds(*found, size):
    """Return the median of the later calls of some processes."""
    return median(s for one in found for s in one["sizes"][str(size)]["later"])


def exponent(found):
    """Return the slope of log seconds over log size, by least squares."""
    sizes = sorted(map(int, found["sizes"]))
    return np.polyfit(np.log(sizes), np.log([seconds(found, size=n) for n in sizes]), 1)[0]


def compare(case, quick, pythons, folder):
    """Time a case; return its rows and what was promised and not kept."""
    at = case.sizes[0] if quick and case.sizes else case.at
    sizes = [at] if quick else [n for n in case.sizes if n != at] + [at]
    rounds = 1 if quick else 3
    before = side(case, "mmcell", sizes, rounds, folder, sys.executable, keep=True)
    grown = f"{exponent(before):.2f}" if len(sizes) > 1 else ""
    what, broken, rows = case.what.format(n=f"{at:,}"), [], []
    if not case.peers:
        rows.append([what, "", f"{seconds(before, size=at):.3g}", "", "", "", f"{before['peak_mb']:.0f}", "", grown])
    for peer in case.peers:
        python = pythons.get(peer.partition(" ")[0], sys.executable)
        theirs = side(case, peer, [at], rounds, folder, python, keep=peer in case.close)
        if theirs is None:
            rows.append([what, f"{peer}: not installed", "", "", "", "", "", "", grown])
            continue
        after = side(case, "mmcell", [at], rounds, folder, sys.executable, keep=False)
        fast, slow = seconds(before, after, size=at), seconds(theirs, size=at)
        # Before it, our process has met smaller sizes and is warm.
        first = theirs["sizes"][str(at)]["first"] / after["sizes"][str(at)]["first"]
        apart = difference(before["value"], theirs["value"]) if peer in case.close else None
        named = f"{peer} ({theirs['version']})" if theirs["version"] else peer
        rows.append([
            what, named, f"{fast:.3g}", f"{slow:.3g}", f"{slow / fast:.3g}", f"{first:.3g}",
            f"{after['peak_mb']:.0f} / {theirs['peak_mb']:.0f}", "" if apart is None else f"{apart:.1g}", grown,
        ])  # fmt: skip
        if apart is not None and not apart <= case.close[peer]:
            broken.append(f"{case.name}: values differ from {peer} by {apart:.3g}, more than {case.close[peer]:g}")
        least = case.promised.get(peer)
        if least is not None and not quick and slow / fast < least:
            broken.append(f"{case.name}: {slow / fast:.3g} × as fast as {peer}, promised {least:.3g}")
    if case.most_mb is not None and before["peak_mb"] > case.most_mb:
        broken.append(f"{case.name}: {before['peak_mb']:.0f} MB, promised {case.most_mb:.0f}")
    return rows, broken


def difference(ours, theirs):
    """Return the largest difference of what both computed; NaN where only one of them has a number."""
    found = [np.abs(np.asarray(ours[k], dtype=float) - np.asarray(theirs[k], dtype=float)) for k in theirs if k in ours]
    return float(max(np.where(np.isnan(d), np.inf, d).max() for d in found))


def machine():
    """Return in words what it was measured on."""
    names = (
        re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else []
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{p} {version(p)}" for p in ("mmcell", "numpy", "scipy", "numba", "scikit-learn", "torch"))
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores ({names[0] if names else 'unknown'}), "
        f"{memory:.0f} GiB; Python {platform.python_version()}, {packages}"
    )


def main():
    known = all_cases()
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--quick", action="store_true", help="smallest sizes, once: do all cases work, and agree?")
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PATH", help="where a peer is installed")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(known):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    pythons = dict(text.split("=", 1) for text in asked.python)
    broken = []
    print(machine(), end="\n\n")
    print(f"| {' | '.join(TABLE)} |\n|{'---|' * len(TABLE)}", flush=True)
    for name in asked.names or known:
        with tempfile.TemporaryDirectory() as folder:
            rows, faults = compare(known[name], asked.quick, pythons, Path(folder))
        for row in rows:
            print(f"| {' | '.join(row)} |", flush=True)
        broken += faults
    print("", *broken, sep="\n")
    raise SystemExit(bool(broken))


if __name__ == "__main__":
    main()
