"""Signals through a net before it is trained: activations forwards, gradients backwards."""
