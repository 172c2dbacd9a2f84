"""The version of protogen."""

__version__ = "0.1.0"
