"""Writes layers into nets."""
