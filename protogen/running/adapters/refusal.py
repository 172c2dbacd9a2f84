"""The exception of adapters, in a module that works in the Python of every toolchain."""


class Refused(Exception):
    """The toolchain refuses the net. The text is its own message."""
