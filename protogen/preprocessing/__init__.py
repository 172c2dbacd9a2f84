"""Means, scales and data sets; steps put before a net."""
