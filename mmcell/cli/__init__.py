"""The command line, one file a group of commands. Nothing heavy is imported before a command needs it."""

# In the order of ``mmcell --help``.
from mmcell.cli import run, embed, judge, look, stratify, fetch  # isort: skip
from mmcell.cli.app import app, main

__all__ = ["app", "embed", "fetch", "judge", "look", "main", "run", "stratify"]
