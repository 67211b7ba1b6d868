"""Shipped configs."""
