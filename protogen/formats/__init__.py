"""Readers and writers of file formats. They do not build nets."""
