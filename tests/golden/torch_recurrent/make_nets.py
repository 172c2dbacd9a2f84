"""Makes the models of this folder: what PyTorch's exporter writes for recurrent modules.

Run with torch 2.4.0 and onnx:

    python tests/golden/torch_recurrent/make_nets.py

Weights are random (seeded).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

HERE = Path(__file__).parent
MODULES = {
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "rnn_relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "rnn_tanh": nn.RNN,
}


class Outputs(nn.Module):
    """Returns the sequence and the last states as one tuple."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y, state = self.module(x)
        return (y, *state) if isinstance(state, tuple) else (y, state)


class States(nn.Module):
    """Begins with given states."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.GRU(5, 6, num_layers=2, bidirectional=True)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.module(x, state)


class Packed(nn.Module):
    """Sequences of different lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.GRU(5, 6, bidirectional=True)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([3, 2, 2, 1]))
        y, state = self.module(packed)
        return nn.utils.rnn.pad_packed_sequence(y)[0], state


class Text(nn.Module):
    """Reads a line of text in a picture: convolutions, then a GRU along the columns."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, (2, 1), 1), nn.ReLU()
        )
        self.module = nn.GRU(12, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.out = nn.Linear(12, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.module(self.convolutions(x).mean(2).transpose(1, 2))
        return self.out(y).log_softmax(-1)


def export(name: str, module: nn.Module, *inputs: torch.Tensor, opset: int = 17) -> None:
    torch.onnx.export(
        module.eval(), inputs, HERE / f"{name}.onnx", opset_version=opset,
        input_names=["x", "state"][: len(inputs)],
    )  # fmt: skip


def main() -> None:
    torch.manual_seed(0)
    x = torch.zeros(3, 4, 5)
    for name, module in MODULES.items():
        for opset in (11, 17):
            plain = module(5, 6)
            export(f"{name}_{opset}", Outputs(plain), x, opset=opset)
            deep = module(5, 6, num_layers=2, bidirectional=True, batch_first=True)
            export(f"{name}_deep_{opset}", Outputs(deep), x, opset=opset)
    export("states", States(), x, torch.zeros(4, 4, 6))
    export("packed", Packed(), x)
    export("text", Text(), torch.zeros(2, 1, 8, 20))


if __name__ == "__main__":
    main()
