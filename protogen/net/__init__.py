"""Nets in memory: building, shape inference, upgrades, comparison and cost."""
