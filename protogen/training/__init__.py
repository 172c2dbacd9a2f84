"""Logs of Caffe's training: reading them, and naming what went wrong."""
