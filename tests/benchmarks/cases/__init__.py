"""What is timed, a module for each room of mmcell; the modules are read by peers that do not have mmcell."""
