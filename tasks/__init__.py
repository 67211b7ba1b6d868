"""Shipped tasks."""
