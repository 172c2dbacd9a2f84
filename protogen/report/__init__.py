"""Pictures. This room receives data and computes none."""
