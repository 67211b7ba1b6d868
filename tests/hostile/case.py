"""A hostile input: what is written, who reads it, and the one line that refuses it."""

import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmcell import MmcellError
from mmcell.cli import main
from mmcell.errors import one_line

#: Seconds until an input must have been refused.
LIMIT = 5


class LateError(BaseException):
    """Nobody's `except` takes it for a fault of the file."""


@dataclass(frozen=True)
class Case:
    """`make` writes the input into a folder that holds ``cohort.yaml`` and returns a command line, or a call.

    `says` is a regular expression of the line that refuses it: the file or object, and the cure.
    """

    name: str
    says: str
    make: Callable[[Path], list[str] | Callable[[], object]]


def collector():
    """Return a list of cases, and a decorator that adds a function to it."""
    cases: list[Case] = []

    def case(name, says):
        def add(make):
            cases.append(Case(name, says, make))
            return make

        return add

    return cases, case


def evaluated(file, *more):
    """Return the command that reads an embedding."""
    return ["evaluate", "--embedding", str(file), "--dataset", "cohort.yaml", "--task", "patient-severity",
            "--n-boot", "100", "--out", "out", *more]  # fmt: skip


def of_card(card):
    """Return the command that reads a dataset's card and its data."""
    return ["evaluate", "--encoder", "pca", "--dataset", str(card), "--task", "patient-severity", "--n-boot", "100",
            "--out", "out"]  # fmt: skip


def refused(case, template, folder, capsys, monkeypatch):
    """Run a case in a folder of its own, and check how it ends."""
    shutil.copytree(template, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MMCELL_CACHE", raising=False)
    monkeypatch.setattr(socket.socket, "connect", _no_network)
    monkeypatch.setattr(sys, "path", [*sys.path])
    asked = case.make(folder)
    before = tree(folder)
    beside = sorted(folder.parent.iterdir())
    start = time.monotonic()
    with limited():
        line = _by_command(asked, capsys, monkeypatch) if isinstance(asked, list) else _by_call(asked)
    assert time.monotonic() - start < LIMIT
    assert re.search(case.says, line), line
    assert line.isprintable(), repr(line)
    assert len(line) < 1500
    assert tree(folder) == before
    assert sorted(folder.parent.iterdir()) == beside


def _by_command(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mmcell", *arguments])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert left.value.code == 2, said.err
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("mmcell: ")
    assert "Traceback" not in said.err
    return said.err.removeprefix("mmcell: ").rstrip("\n")


def _by_call(call):
    with pytest.raises(MmcellError) as info:
        call()
    return one_line(info.value)


def tree(folder):
    """Return what lies in a folder but for its ``out``: path -> kind, and of files the content."""
    found = {}
    for place, inner, names in os.walk(folder):
        if Path(place) == folder and "out" in inner:
            inner.remove("out")
        for name in (*inner, *names):
            path = Path(place, name)
            is_small = path.is_file() and path.stat().st_size < 1 << 22
            found[str(path.relative_to(folder))] = path.read_bytes() if is_small else path.is_dir()
    return found


@contextmanager
def limited(seconds=LIMIT):
    """Break off what takes longer than an input may."""

    def late(*_):
        raise LateError(f"not refused within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _no_network(*_):
    raise AssertionError("a connection was tried")
