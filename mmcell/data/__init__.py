"""The catalogue of datasets and their sources."""
