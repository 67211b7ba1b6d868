"""Findings: what a reader must know beside a score."""
