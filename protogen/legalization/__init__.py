"""Legalization: a net is rewritten in forms of layers that a toolchain takes and computes rightly."""
