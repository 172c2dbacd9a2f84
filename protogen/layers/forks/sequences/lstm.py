"""Layers of forks over sequences: Lstm, LstmJun and ContinuationIndicator."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from protogen.errors import ProtogenWarning, UnsupportedError, warn
from protogen.geometry import Shape, shape_text
from protogen.layers.base import (
    Filling,
    LayerType,
    Window,
    check_bottoms,
    check_rank,
    fields,
    four_axes,
)
from protogen.layers.elementwise import BOOL, FLOAT
from protogen.layers.graph import Layer
from protogen.layers.recurrent import Operator, Steps, lstm_unit, unrolled
from protogen.layers.values import continuation_flags
from protogen.layers.writing import Emitter, Rewriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from protogen.layers.values import Drawn, Rng


class Lstm(LayerType):
    """Forks (J. Oh's layer, in CTPN, CC4 and TPU-MLIR): LSTM whose cont is 0 in the first step.

    Bottoms: x (T, N, ...), optionally clip. Top: h (T, N, D). With i, f, o, g the four parts of
    W x_t + U h_{t-1} + b: c_t = s(f) c_{t-1} + s(i) tanh(g), h_t = s(o) tanh(c_t). Blobs: W (4D, I),
    U (4D, D), b (4D). In the first step, and where clip is 0, the terms of h_{t-1} and c_{t-1} are
    left out. Step t of stream n reads value t + n of clip, as the code of all these forks does.

    For several streams, the CPU code of the forks adds the U h_{t-1} of the first stream to the gates
    of every stream; their GPU code does not. protogen computes as the CPU code (which TPU-MLIR runs)
    unless the dialect is one of nets that were trained on a GPU.
    """

    stock = False
    source = "tianzhi0549/CTPN"
    weighted = True
    reads = fields(lstm_param="num_output")
    harmless = MappingProxyType(
        {
            "lstm_param.clipping_threshold": "bounds gradients only",
            "lstm_param.batch_size": "the forks take the number of streams from the bottom",
        }
    )
    blob_names = ("weight", "recurrent", "bias")
    three_axes = False  # TPU-MLIR's Lstm needs three axes, as CC4's LstmJun

    def without_gradient(self, layer: Layer) -> Collection[int]:
        return (1,)

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 1, 2)
        check_rank(layer, bottoms[:1], 3, 32)
        steps, streams = bottoms[0][:2]
        if math.prod(bottoms[0][3:]) > 1 and (self.three_axes or layer.dialect == "tpumlir"):
            raise layer.error(f"x must have three axes, got {shape_text(bottoms[0])}")
        d = layer.params.lstm_param.num_output
        if d < 1:
            raise layer.error("num_output is missing or 0", "Set the number of outputs.")
        if len(bottoms) > 1:
            count = math.prod(four_axes(layer, bottoms[1]))
            needed = steps + streams - 1
            if bottoms[1][:1] != (count,):
                raise layer.error(
                    f'clip must have all its values on its first axis, got "{layer.bottoms[1]}" of '
                    f"shape {shape_text(bottoms[1])}"
                )
            if count < needed:
                raise layer.error(
                    f"clip must have T + N - 1 = {needed} values or more, because step t of stream n "
                    f"reads value t + n, got {count}"
                )
        return [(steps, streams, d)]

    def blobs(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        d = layer.params.lstm_param.num_output
        return [(4 * d, math.prod(bottoms[0][2:])), (4 * d, d), (4 * d,)]

    def fillings(
        self, layer: Layer, bottoms: Sequence[Shape], blobs: Sequence[Shape]
    ) -> list[Filling]:
        weights = [
            Filling("lstm_param.weight_filler", fan_in=shape[1], fan_out=shape[0])
            for shape in blobs[:2]
        ]
        return [*weights, Filling("lstm_param.bias_filler")]

    def multiply_adds(
        self, layer: Layer, bottoms: Sequence[Shape], tops: Sequence[Shape], blobs: Sequence[Shape]
    ) -> int:
        return math.prod(bottoms[0][:2]) * sum(math.prod(blob) for blob in blobs[:2])

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def draw(self, layer: Layer, index: int, shapes: Sequence[Shape], rng: Rng) -> Drawn | None:
        return continuation_flags(rng, shapes[1]) if index == 1 else None

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        shape = e.shape(layer.reads[0])
        steps, streams, size = *shape[:2], math.prod(shape[2:])
        mixes = self._mixes_streams(layer, steps, streams)
        if mixes and layer.dialect != "tpumlir":
            warn(ProtogenWarning.of(*self._mixing(layer).diagnostics))
        positions = np.arange(steps)[:, None] + np.arange(streams)
        if len(layer.reads) < 2:
            cont = np.ones((steps, streams), np.float32)
            cont[0] = 0
        else:
            clip = e.constant(layer.reads[1])
            if clip is None:
                e.op("Identity", [self._each_step(layer, e, positions)], [layer.writes[0]])
                return
            cont = clip.reshape(-1)[positions].astype(np.float32)
            cont = cont if _on_gpu(layer) else (cont != 0).astype(np.float32)
        x = e.reshape(layer.reads[0], shape, (steps, streams, size))
        arrays = [e.weight(layer, i) for i in range(3)]
        if not mixes:
            y = Operator(e, "LSTM", layer.writes[0], arrays).run(x, cont, [])[0]
        else:
            y = self._mixed(layer, e, x, arrays, cont)
        e.op("Identity", [y], [layer.writes[0]])

    def _mixes_streams(self, layer: Layer, steps: int, streams: int) -> bool:
        return steps > 1 and streams > 1 and not _on_gpu(layer)

    def _mixing(self, layer: Layer) -> UnsupportedError:
        return layer.unsupported(
            "for several streams, the CPU code of the forks adds the state of the first stream to the "
            "gates of all streams, and so does protogen; the GPU code uses the state of each stream",
            "If the net was trained on a GPU, set --dialect ctpn or --dialect cc4.",
        )

    def _mixed(
        self,
        layer: Layer,
        e: Emitter,
        x: str,
        arrays: Sequence[NDArray[np.floating]],
        cont: NDArray[np.floating],
    ) -> str:
        """Emit the first stream, then all streams with its states as a part of their inputs."""
        import numpy as np

        steps = len(cont)
        weight, recurrent, bias = arrays
        d = recurrent.shape[1]
        first = e.value("Slice", x, e.array([0]), e.array([1]), e.array([1]))
        one = Operator(e, "LSTM", f"{layer.writes[0]}@first", arrays)
        states = one.run(first, cont[:, :1], [])[0]
        before = e.value("Slice", states, e.array([0]), e.array([steps - 1]), e.array([0]))
        before = e.value("Concat", e.array(np.zeros((1, 1, d))), before, axis=0)
        before = e.value("Mul", before, e.array(cont[:, :, None]))
        both = np.concatenate([weight, recurrent], axis=1)
        every = Operator(e, "LSTM", layer.writes[0], [both, 0 * recurrent, bias])
        return every.run(e.value("Concat", x, before, axis=2), cont, [])[0]

    def _each_step(self, layer: Layer, e: Emitter, positions: NDArray[np.int64]) -> str:
        """Emit the steps one by one: where the sequences start is known only when the net runs."""
        shape = e.shape(layer.reads[0])
        steps, streams, size = *shape[:2], math.prod(shape[2:])
        d = layer.params.lstm_param.num_output
        x = e.reshape(layer.reads[0], shape, (steps * streams, size))
        x = e.value("Gemm", x, e.blob(layer, 0), e.blob(layer, 2), transB=1)
        gates = e.reshape(x, (steps * streams, 4 * d), (steps, streams, 4 * d))
        cont = e.value("Reshape", layer.reads[1], e.array([-1]))
        if not _on_gpu(layer):
            cont = e.value("Cast", e.value("Cast", cont, to=BOOL), to=FLOAT)
        cont = e.value("Gather", cont, e.array(positions), axis=0)
        recurrent = e.blob(layer, 1)
        mixes = self._mixes_streams(layer, steps, streams)

        def step(now: str, flags: str, states: list[str]) -> tuple[str, list[str]]:
            h, c = states
            if mixes:
                h = e.value("Slice", h, e.array([0]), e.array([1]), e.array([0]))
            now = e.value("Gemm", e.value("Mul", h, flags), recurrent, now, transB=1)
            c, h = lstm_unit(e, now, c, flags, d)
            return h, [h, c]

        zero = e.array([[0.0] * d] * streams)
        return unrolled(e, step, Steps(steps, gates, cont), [zero, zero])[0]

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        """Replace the layer by BVLC Caffe's LSTM, whose blobs have another order."""
        p = layer.params.lstm_param
        steps, streams = r.shape(layer.bottoms[0])[:2]
        if self._mixes_streams(layer, steps, streams):
            raise self._mixing(layer)
        cont = self._cont(layer, r, steps) if len(layer.bottoms) > 1 else start(r, steps, streams)
        params: dict[str, Any] = {"num_output": p.num_output}
        for name in ("weight_filler", "bias_filler"):
            if p.has(name):
                params[name] = getattr(p, name)
        weights = r.weights()
        order = (0, 2, 1)
        r.add(
            "LSTM",
            [layer.bottoms[0], cont],
            params={"recurrent_param": params},
            weights=[weights[i] for i in order] if weights else None,
            keeps=order,
        )

    def _cont(self, layer: Layer, r: Rewriter, steps: int) -> str:
        """Add layers that turn clip into cont."""
        cont = layer.bottoms[1]
        if r.shape(layer.bottoms[0])[1] > 1:
            raise layer.unsupported(
                "step t of stream n reads value t + n of clip, which no stock layer does for several "
                "streams",
                "Leave clip out if the sequences start in the first step only.",
            )
        if r.shape(cont)[0] > steps:
            raise layer.unsupported(
                f"clip has {r.shape(cont)[0]} values for {steps} steps", "Give it one per step."
            )
        if not _on_gpu(layer):  # every value except 0 continues the sequence
            cont = r.add("AbsVal", [cont], role="size")
            cont = r.add("Threshold", [cont], role="flags")
        shape = {"shape": {"dim": [steps, 1]}}
        return r.add("Reshape", [cont], role="cont", params={"reshape_param": shape})


def _on_gpu(layer: Layer) -> bool:
    """Return whether the layer computes as the GPU code of its forks: of CTPN and CC4."""
    return layer.dialect in ("ctpn", "cc4")


class LstmJun(Lstm):
    """Forks (CC4): Lstm under another name. Its bottom has three axes."""

    source = "dlunion/CC4.0"
    three_axes = True


def start(r: Rewriter, steps: int, streams: int, first: float = 0.0, role: str = "cont") -> str:
    """Add stock layers whose top is cont (T, N): ``first`` in the first step, then 1. ``role`` is
    that of the last of them."""

    def constant(rows: int, value: float, role: str) -> str:
        content = {
            "shape": {"dim": [rows, streams]},
            "data_filler": {"type": "constant", "value": value},
        }
        return r.add("DummyData", [], role=role, params={"dummy_data_param": content})

    if steps == 1 or first == 1:
        return constant(steps, first, role)
    parts = [constant(1, first, "start"), constant(steps - 1, 1.0, "rest")]
    return r.add("Concat", parts, role=role, params={"concat_param": {"axis": 0}})


class ContinuationIndicator(LayerType):
    """Forks: cont (T, N) for LSTM and RNN: 0 in the first step, then 1. With ``flag`` (TPU-MLIR),
    always 1. N is batch_size; with a bottom, CC4 takes its first axis, TPU-MLIR batch_size."""

    stock = False
    source = "dlunion/CC4.0"
    computes = False
    reads_values = False
    reads = fields(continuation_indicator_param="time_step batch_size flag")

    def shapes(self, layer: Layer, bottoms: Sequence[Shape]) -> list[Shape]:
        check_bottoms(layer, 0, 1)
        p = layer.params.continuation_indicator_param
        if p.time_step < 1:
            raise layer.error("time_step must be above 0", "Set the number of steps.")
        return [(p.time_step, self._streams(layer, bottoms))]

    def _streams(self, layer: Layer, bottoms: Sequence[Shape]) -> int:
        p = layer.params.continuation_indicator_param
        set_size = p.batch_size if p.has("batch_size") else int(layer.dialect == "tpumlir")
        read = four_axes(layer, bottoms[0])[0] if bottoms else set_size
        if not bottoms or layer.dialect == "tpumlir":
            streams = set_size
        elif layer.dialect == "cc4" or read == set_size:
            streams = read
        else:
            raise layer.unsupported(
                f"its batch is {read}, the first axis of its bottom, in CC4, but batch_size in TPU-MLIR",
                "Name the fork with --dialect cc4 or tpumlir, or leave the bottom out.",
            )
        if streams < 1:
            raise layer.error("batch_size must be above 0", "Set the number of streams.")
        return int(streams)

    def window(self, layer: Layer, bottoms: Sequence[Shape]) -> Window | None:
        return None

    def lower(self, layer: Layer, e: Emitter) -> None:
        import numpy as np

        flags = np.ones(e.shape(layer.writes[0]), np.float32)
        flags[0] = layer.params.continuation_indicator_param.flag
        e.op("Identity", [e.array(flags)], [layer.writes[0]])

    def rewrite(self, layer: Layer, r: Rewriter) -> None:
        shapes = [r.shape(bottom) for bottom in layer.bottoms]
        steps, streams = self.shapes(layer, shapes)[0]
        first = float(layer.params.continuation_indicator_param.flag)
        start(r, steps, streams, first, "")
