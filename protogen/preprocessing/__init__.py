"""Preprocessing: means, scales and image folders, and preprocessing as part of a net."""
