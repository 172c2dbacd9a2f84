"""Conversion of files in both directions, with receipts, and comparison of two models."""
