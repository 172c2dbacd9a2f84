"""The version of protogen."""

__version__ = "0.2.0"
