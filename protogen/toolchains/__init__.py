"""Toolchains and dialects of Caffe: their limits and layer types, as data and its readers."""
