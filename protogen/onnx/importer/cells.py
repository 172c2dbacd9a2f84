"""One time step of RNN, GRU and LSTM in stock layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protogen.onnx.importer.arithmetic import eltwise, powered
from protogen.onnx.importer.context import ImportContext
from protogen.onnx.importer.elementwise import DIFFERENCE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.floating]

# ONNX's activation functions, with the defaults of alpha and beta of those that have them. None:
# ONNX defines no default, or onnxruntime computes with another one.
DEFAULTS: dict[str, tuple[float | None, ...]] = {
    "Affine": (None, None),
    "Elu": (1.0,),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01,),
    "Relu": (),
    "ScaledTanh": (None, None),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": (None,),
}
_PLAIN = {"Relu": "ReLU", "Sigmoid": "Sigmoid", "Softplus": "BNLL", "Tanh": "TanH"}


@dataclass(frozen=True, slots=True)
class Function:
    """An activation function with its alpha and beta, as far as it has them."""

    name: str
    numbers: tuple[float, ...] = ()

    def add(self, ctx: ImportContext, x: str, role: str) -> str:
        """Add the layers of the function."""
        numbers = self.numbers
        if self.name in _PLAIN:
            return ctx.add(_PLAIN[self.name], [x], role=role)
        if self.name == "LeakyRelu":
            return ctx.add("ReLU", [x], {"relu_param": {"negative_slope": numbers[0]}}, role=role)
        if self.name == "Elu":
            return ctx.add("ELU", [x], {"elu_param": {"alpha": numbers[0]}}, role=role)
        if self.name == "Affine":
            return powered(ctx, x, scale=numbers[0], shift=numbers[1], role=role)
        if self.name == "HardSigmoid":
            params = {"hardsigmoid_param": {"alpha": numbers[0], "beta": numbers[1]}}
            return ctx.add_fork_layer("HardSigmoid", [x], params, role)
        if self.name == "ScaledTanh":
            y = powered(ctx, x, scale=numbers[1], role=f"{role}_in")
            y = ctx.add("TanH", [y], role=f"{role}_tanh")
            return powered(ctx, y, scale=numbers[0], role=role)
        if self.name == "ThresholdedRelu":
            params = {"threshold_param": {"threshold": numbers[0]}}
            factor = ctx.add("Threshold", [x], params, role=f"{role}_above")
        else:  # Softsign: x / (1 + |x|)
            size = ctx.add("AbsVal", [x], role=f"{role}_size")
            factor = powered(ctx, size, shift=1.0, power=-1.0, role=f"{role}_inverse")
        return eltwise(ctx, "PROD", [x, factor], role)


def functions_of(
    ctx: ImportContext, names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]
) -> list[Function]:
    """Return the functions of these names. As in ONNX, each function that has an alpha (or a beta)
    takes the operator's next one, or its default if there are no more.

    Raises:
        UnsupportedError: a name is unknown, or a number without a default is missing.
    """
    by_name = {name.lower(): name for name in DEFAULTS}
    left = {"activation_alpha": iter(alphas), "activation_beta": iter(betas)}
    functions = []
    for written in names:
        name = by_name.get(written.lower())
        if name is None:
            raise ctx.unsupported(f'ONNX has no activation function "{written}"')
        numbers = []
        for key, default in zip(left, DEFAULTS[name], strict=False):
            number = next(left[key], default)
            if number is None:
                raise ctx.unsupported(f"{name} needs a value in {key}", f"Set {key}.")
            numbers.append(float(number))
        functions.append(Function(name, tuple(numbers)))
    return functions


@dataclass(frozen=True, slots=True)
class Parts:
    """Constants and functions of one direction of a recurrent operator; D is its hidden size.

    Attributes:
        w, r: the weights of the inputs (gates D, inputs) and of the hidden state (gates D, D).
        w_bias, r_bias: their biases (gates D).
        functions: the activation functions f, g and h, as far as the operator has them.
        clip: the limit of the inputs of f and g; None without a limit.
        after: GRU: whether R multiplies the state before the reset (``linear_before_reset``).
        coupled: LSTM: whether the forget gate is 1 - i (``input_forget``).
        peepholes: LSTM: the factors of the cell state in the gates i, o, f (3, D); None if there
            are none.
    """

    w: Array
    r: Array
    w_bias: Array
    r_bias: Array
    functions: Sequence[Function]
    clip: float | None = None
    after: bool = False
    coupled: bool = False
    peepholes: Array | None = None

    @property
    def size(self) -> int:
        """D."""
        return int(self.r.shape[1])


class Shared:
    """A layer that every time step has. The steps share its blobs by ``param { name }``, and the
    layer of the first step stores them."""

    def __init__(
        self, ctx: ImportContext, type_: str, params: dict[str, Any], blobs: list[Array], role: str
    ) -> None:
        names = [ctx.new_value(f"{role}_{blob}") for blob in ("weight", "bias")[: len(blobs)]]
        self._ctx, self._type = ctx, type_
        self._params = {"param": [{"name": name} for name in names], **params}
        self._blobs: list[Array] | None = blobs

    def add(self, x: str, role: str) -> str:
        """Add the layer of one step."""
        blobs, self._blobs = self._blobs, None
        return self._ctx.add(self._type, [x], self._params, blobs, role=role)


def _matrix(weight: Array, bias: Array | None) -> tuple[dict[str, Any], list[Array]]:
    """Return parameters and blobs of an InnerProduct along axis 2; without a bias if it is 0."""
    params: dict[str, Any] = {"num_output": len(weight), "axis": 2}
    if bias is not None and bias.any():
        return {"inner_product_param": params}, [weight, bias]
    return {"inner_product_param": {**params, "bias_term": False}}, [weight]


class Cell(ABC):
    """The layers of one direction. Blobs have three axes: samples and steps in either order, then
    values. Those of one step have one step."""

    def __init__(self, ctx: ImportContext, parts: Parts, role: str) -> None:
        self.ctx, self.parts, self.role = ctx, parts, role

    @abstractmethod
    def streams(self, x: str) -> list[str]:
        """Multiply the inputs of all steps by W. Return the blobs whose steps ``step`` reads."""

    @abstractmethod
    def step(self, now: Sequence[str], states: Sequence[str], role: str) -> list[str]:
        """Add one step and return its states, the hidden state first.

        Args:
            now: the step of each stream.
            states: the states of the step before; "" for a state of 0.
        """

    def _project(self, x: str, w: Array, bias: Array) -> str:
        params, blobs = _matrix(w, bias)
        return self.ctx.add("InnerProduct", [x], params, blobs, role=f"{self.role}_input")

    def _shared(self, role: str, weight: Array, bias: Array | None = None) -> Shared:
        params, blobs = _matrix(weight, bias)
        return Shared(self.ctx, "InnerProduct", params, blobs, f"{self.role}_{role}")

    def _apply(self, which: int, x: str, role: str, clip: bool = True) -> str:
        """Add the activation function of this number after the limit of its input."""
        if clip and self.parts.clip is not None:
            limits = {"min": -self.parts.clip, "max": self.parts.clip}
            x = self.ctx.add("Clip", [x], {"clip_param": limits}, role=f"{role}_clip")
        return self.parts.functions[which].add(self.ctx, x, role)

    def _split(self, x: str, points: Sequence[int], role: str) -> list[str]:
        return self.ctx.split(x, 2, points, role)

    def _sum(self, a: str, b: str, role: str) -> str:
        return eltwise(self.ctx, "SUM", [a, b], role)

    def _difference(self, a: str, b: str, role: str) -> str:
        return self.ctx.add("Eltwise", [a, b], DIFFERENCE, role=role)

    def _product(self, a: str, b: str, role: str) -> str:
        return eltwise(self.ctx, "PROD", [a, b], role)


class RnnCell(Cell):
    """h' = f(W x + R h + b)."""

    def streams(self, x: str) -> list[str]:
        p = self.parts
        self._recurrent = self._shared("recurrent", p.r)
        return [self._project(x, p.w, p.w_bias + p.r_bias)]

    def step(self, now: Sequence[str], states: Sequence[str], role: str) -> list[str]:
        x, (h,) = now[0], states
        if h:
            x = self._sum(x, self._recurrent.add(h, f"{role}_recurrent"), f"{role}_sum")
        return [self._apply(0, x, f"{role}_h")]


class GruCell(Cell):
    """z, r = f(W x + R h + b), n = g(W_n x + R_n (r h) + b_n), h' = (1 - z) n + z h.

    With ``after``: n = g(W_n x + r (R_n h + b_rn) + b_n).
    """

    def streams(self, x: str) -> list[str]:
        import numpy as np

        p, d = self.parts, self.parts.size
        bias = p.w_bias.copy()
        bias[: 2 * d] += p.r_bias[: 2 * d]
        if p.after:  # the reset gate multiplies the rest of the bias too
            r_bias = np.concatenate([np.zeros(2 * d, np.float32), p.r_bias[2 * d :]])
            self._recurrent = self._shared("recurrent", p.r, r_bias)
        else:
            bias[2 * d :] += p.r_bias[2 * d :]
            self._recurrent = self._shared("recurrent", p.r[: 2 * d])
            self._reset = self._shared("reset", p.r[2 * d :])
        return self._split(self._project(x, p.w, bias), [2 * d], f"{self.role}_inputs")

    def step(self, now: Sequence[str], states: Sequence[str], role: str) -> list[str]:
        (gates, new), (h,), d = now, states, self.parts.size
        after = ""
        if h:
            add = self._recurrent.add(h, f"{role}_recurrent")
            if self.parts.after:
                add, after = self._split(add, [2 * d], f"{role}_products")
            gates = self._sum(gates, add, f"{role}_sum")
        z, r = self._split(self._apply(0, gates, f"{role}_gates"), [d], f"{role}_gate")
        add = ""
        if h and self.parts.after:
            add = self._product(r, after, f"{role}_reset")
        elif h:
            add = self._reset.add(self._product(r, h, f"{role}_reset"), f"{role}_product")
        elif self.parts.after and (bias := self.parts.r_bias[2 * d :]).any():
            params = {"scale_param": {"axis": 2}}
            add = self.ctx.add("Scale", [r], params, [bias], role=f"{role}_reset")
        new = self._sum(new, add, f"{role}_new_sum") if add else new
        new = self._apply(1, new, f"{role}_new")
        if not h:
            return [self._difference(new, self._product(z, new, f"{role}_rest"), f"{role}_h")]
        rest = self._product(z, self._difference(h, new, f"{role}_change"), f"{role}_rest")
        return [self._sum(new, rest, f"{role}_h")]


class LstmCell(Cell):
    """i, o, f = f(W x + R h + b), c' = f c + i g(W_c x + R_c h + b_c), h' = o h(c').

    Peepholes add P_i c, P_f c and P_o c' to the inputs of the gates. ``coupled``: f is 1 - i.
    """

    def streams(self, x: str) -> list[str]:
        import numpy as np

        p, d = self.parts, self.parts.size
        self._gates = 2 if p.coupled else 3  # without the candidate, which is the last one
        w, r, bias = p.w, p.r, p.w_bias + p.r_bias
        if p.coupled:  # without f
            rows = np.r_[: 2 * d, 3 * d : 4 * d]
            w, r, bias = w[rows], r[rows], bias[rows]
        self._recurrent = self._shared("recurrent", r)
        if p.peepholes is not None:
            params = {"scale_param": {"axis": 2}}
            self._peepholes = [
                Shared(self.ctx, "Scale", params, [factors], f"{self.role}_peephole_{gate}")
                for gate, factors in zip("iof", p.peepholes, strict=True)
            ]
        return [self._project(x, w, bias)]

    def step(self, now: Sequence[str], states: Sequence[str], role: str) -> list[str]:
        x, (h, c), d = now[0], states, self.parts.size
        if h:
            x = self._sum(x, self._recurrent.add(h, f"{role}_recurrent"), f"{role}_sum")
        ends = [d * n for n in range(1, self._gates)]
        if self.parts.peepholes is None:
            gates, g = self._split(x, [self._gates * d], f"{role}_part")
            gates = self._apply(0, gates, f"{role}_gates")
            i, o, *rest = self._split(gates, ends, f"{role}_gate")
        else:
            i, o, *rest, g = self._split(x, [*ends, self._gates * d], f"{role}_part")
            i = self._gate(0, i, c, f"{role}_i")
            rest = [self._gate(2, one, c, f"{role}_f") for one in rest if c]
        g = self._apply(1, g, f"{role}_g")
        c = self._next(i, rest[0] if rest else "", g, c, role)
        if self.parts.peepholes is not None:
            o = self._gate(1, o, c, f"{role}_o")
        return [self._product(o, self._apply(2, c, f"{role}_out", clip=False), f"{role}_h"), c]

    def _gate(self, which: int, x: str, c: str, role: str) -> str:
        """Add a gate with a peephole."""
        if c:
            x = self._sum(x, self._peepholes[which].add(c, f"{role}_peephole"), f"{role}_sum")
        return self._apply(0, x, role)

    def _next(self, i: str, f: str, g: str, c: str, role: str) -> str:
        """Add the next cell state: f c + i g, or c + i (g - c) if f is 1 - i."""
        if not c:
            return self._product(i, g, f"{role}_c")
        if f:
            old = self._product(f, c, f"{role}_old")
            return self._sum(old, self._product(i, g, f"{role}_added"), f"{role}_c")
        change = self._product(i, self._difference(g, c, f"{role}_change"), f"{role}_added")
        return self._sum(c, change, f"{role}_c")


CELLS: dict[str, type[Cell]] = {"GRU": GruCell, "LSTM": LstmCell, "RNN": RnnCell}
