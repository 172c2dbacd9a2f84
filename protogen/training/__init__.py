"""Training: initial weights, signals before training, activation functions, training logs."""
