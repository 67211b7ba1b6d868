"""Jobs, parts, parcels, executors, and runs that are killed."""
