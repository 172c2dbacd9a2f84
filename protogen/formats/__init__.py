"""Reads and writes files: bytes and text, no nets."""
