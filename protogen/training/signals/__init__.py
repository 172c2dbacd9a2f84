"""Signals of a net before training: activations in the forward pass, gradients in the backward pass."""
