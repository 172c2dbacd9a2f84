"""Layers of forks over sequences: LSTM, GRU and CTC."""

from protogen.layers.forks.sequences import (
    ctc,
    gated,
    lstm,
    recognition,
)

__all__ = [
    "ctc",
    "gated",
    "lstm",
    "recognition",
]
