"""``python -m mmcell``."""

from mmcell.cli import main

main()
