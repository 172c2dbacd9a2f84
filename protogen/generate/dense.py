"""Dense layers from weight matrices of either orientation, and multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen._late import Shown
from protogen.errors import InputError, MismatchError, did_you_mean, quantity
from protogen.formats import prototxt
from protogen.formats.render import render
from protogen.layers import LayerType
from protogen.layers.fillers import Filler
from protogen.layers.recommending import LAST
from protogen.net.net import Net

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ORIENTATIONS = {"xw": "Y = XW", "wx": "Y = WX"}
# Activations of BVLC Caffe that need neither parameters nor weights.
ACTIVATIONS = {
    name.lower(): name
    for name, kind in LayerType.registry.items_now()
    if kind.activation and kind.stock and kind.is_plain
}
TOLERANCE = 1e-5  # relative to the largest value: float32 rounding of the sums of products


@dataclass(frozen=True, repr=False)
class Dense(Shown):
    """A dense layer: its text, its net with the weights (input "data"), and its orientation."""

    prototxt: str
    net: Net
    name: str
    orientation: str
    inputs: int
    outputs: int

    @property
    def weights(self) -> dict[str, list[NDArray[np.float32]]]:
        """Parameter blobs by layer name."""
        return self.net.weights

    def save(self, prototxt_path: str | Path | None, caffemodel: str | Path | None = None) -> None:
        """Write the layer's text and its weights.

        Raises:
            InputError: a path cannot be written.
        """
        from protogen.formats.caffemodel import write_pair

        with ExitStack() as stack:
            text = self.prototxt.encode()
            write_pair(stack, (prototxt_path, text), caffemodel, self.net.name, self.net.entries())

    def verify(self, weights: NDArray[Any], bias: NDArray[Any] | None, seed: int = 0) -> float:
        """Return the largest error of the layer, relative to the largest value.

        onnxruntime runs the layer on random samples. The reference is the product of the original
        matrices in float64.

        Raises:
            MismatchError: the error is above 1e-5.
        """
        import numpy as np

        from protogen.running.runtime import run

        x = np.random.default_rng(seed).standard_normal((5, self.inputs)).astype(np.float32)
        w = weights.astype(np.float64)
        expected = x @ w if self.orientation == "xw" else (w @ x.T).T
        if bias is not None:
            expected = expected + bias.reshape(-1)
        actual = run(self.net.with_inputs({"data": x.shape}), {"data": x})[self.net.outputs[0]]
        error = float(np.abs(actual - expected).max() / max(np.abs(expected).max(), 1e-30))
        if not error < TOLERANCE:
            raise MismatchError(
                f"differs from the matrix product by {error:.2g} of the largest value, "
                f"but at most {TOLERANCE:g} is allowed",
                subject=f"layer {self.name!r}",
            )
        return error


def dense(
    weights: NDArray[Any],
    orientation: str,
    bias: NDArray[Any] | None = None,
    *,
    name: str = "ip",
    bottom: str = "data",
    top: str | None = None,
    inputs: int | None = None,
    input_shape: Sequence[int] | None = None,
) -> Dense:
    """Return an InnerProduct layer with these weights.

    The weights are copied only where their dtype is not float32 or their memory layout is not
    contiguous.

    Args:
        weights: W. With ``orientation`` "xw" its shape is inputs x outputs, for Y = XW with samples
            in rows; with "wx" its shape is outputs x inputs, for Y = WX with samples in columns.
        bias: one number for each output.
        inputs: the expected number of inputs; only checked.
        input_shape: the shape of the net's input. With it the text is a complete net.

    Raises:
        InputError: the orientation is unknown, W is not a matrix, or the shapes do not fit. The
            message names the orientation that fits.
    """
    import numpy as np

    if orientation not in ORIENTATIONS:
        raise InputError(
            f"expected xw or wx, got {orientation!r}",
            subject="orientation",
            advice="xw: Y = XW, W is inputs x outputs; wx: Y = WX, W is outputs x inputs.",
        )
    weights, bias = np.asarray(weights), None if bias is None else np.asarray(bias)
    if bias is not None and bias.dtype.kind not in "fiu":
        raise InputError(f"expected numbers, got dtype {bias.dtype}", subject="bias")
    if weights.ndim != 2 or 0 in weights.shape or weights.dtype.kind not in "fiu":
        raise InputError(
            f"expected a matrix of numbers, got shape {'x'.join(map(str, weights.shape))} "
            f"and dtype {weights.dtype}",
            subject="weights",
        )
    rows, columns = weights.shape
    # K inputs and N outputs, as in Caffe.
    k, n = (rows, columns) if orientation == "xw" else (columns, rows)
    expected_inputs = input_shape[-1] if input_shape else inputs
    _check_count(orientation, (rows, columns), "inputs", expected_inputs, k, n)
    bias_size = None if bias is None else bias.size
    _check_count(orientation, (rows, columns), "outputs", bias_size, n, k)
    if not np.isfinite(weights).all() or (bias is not None and not np.isfinite(bias).all()):
        raise InputError(
            "the matrix or the bias contains NaN or infinite values", subject="weights"
        )
    # Caffe's blob is (N, K), or (K, N) with transpose. The contiguous one of the two needs no copy.
    contiguous = (
        weights if weights.flags.c_contiguous or not weights.flags.f_contiguous else weights.T
    )
    blob = np.asarray(contiguous, np.float32, order="C")
    transpose = blob.shape == (k, n) if k != n else (orientation == "xw") == (contiguous is weights)
    blobs = [blob]
    if bias is not None:
        blobs.append(np.ascontiguousarray(bias.reshape(-1), np.float32))
    layer = _layer_values(
        name, bottom, name if top is None else top, n, None, transpose, bias is not None
    )
    input_text = render("input", {"name": bottom, "shape": list(input_shape or (1, k))})
    text = render("inner_product", {"layer": layer})
    net = Net(prototxt.parse(input_text + text, "the layer"), {name: blobs})
    net.check_weights()
    return Dense(input_text + text if input_shape else text, net, name, orientation, k, n)


def _check_count(
    orientation: str,
    shape: tuple[int, int],
    what: str,
    expected: int | None,
    actual: int,
    opposite: int,
) -> None:
    """Check the number of inputs or outputs; ``opposite`` is that of the other orientation."""
    if expected is None or expected == actual:
        return
    turned = "wx" if orientation == "xw" else "xw"
    rows, columns = shape
    head = f"expected {quantity(expected, 'input')}"
    if what == "outputs":
        head = f"the bias has {quantity(expected, 'value')}"
    advice = f"Check the shape of W: {quantity(rows, 'row')}, {quantity(columns, 'column')}."
    if expected == opposite:
        advice = f"With --orientation {turned} ({ORIENTATIONS[turned]}) the shapes fit."
    raise InputError(
        f"{head}, but {ORIENTATIONS[orientation]} with W of {rows}x{columns} has {actual} {what}",
        advice=advice,
    )


def _layer_values(
    name: str,
    bottom: str,
    top: str,
    num_output: int,
    filler: Filler | None,
    transpose: bool = False,
    bias_term: bool = True,
) -> dict[str, Any]:
    return {
        "name": name,
        "bottom": bottom,
        "top": top,
        "num_output": num_output,
        "transpose": transpose,
        "bias_term": bias_term,
        "filler": filler.numbers() if filler else None,
        "rates": [],
    }


@dataclass(frozen=True, slots=True, repr=False)
class Perceptron(Shown):
    """Texts of a net of dense layers: the deploy net, the training net and the solver."""

    deploy: str
    train_val: str
    solver: str


def perceptron(
    sizes: str | Sequence[int],
    activation: str = "relu",
    *,
    batch: int = 64,
    source: str = "data",
    net_file: str = "train_val.prototxt",
    templates: str | Path | None = None,
) -> Perceptron:
    """Return a multi-layer perceptron with fillers that suit its activation.

    The filler is xavier before tanh and sigmoid (Glorot and Bengio 2010), msra before the ReLU
    family (He et al. 2015), and a small Gaussian for the scores. The deploy net ends in Softmax.

    Args:
        sizes: inputs, hidden layers, classes: "784-300-100-10".
        source: prefix of the LMDB databases: SOURCE_train and SOURCE_test.
        net_file: path of the training net in the solver.
        templates: a folder whose templates override the built-in ones by name.

    Raises:
        InputError: the sizes are invalid, or the activation is unknown.
    """
    lengths = _sizes(sizes)
    if activation.lower() not in ACTIVATIONS:
        raise InputError(
            f"unknown value {activation!r}",
            subject="activation",
            advice=did_you_mean(activation, ACTIVATIONS)
            or f"Known activations: {', '.join(ACTIVATIONS)}.",
        )
    type_ = ACTIVATIONS[activation.lower()]
    saturates = LayerType.registry[type_].activation == "saturating"
    hidden = Filler("xavier" if saturates else "msra")
    layers = []
    bottom = "data"
    for i, length in enumerate(lengths[1:], 1):
        last = i == len(lengths) - 1
        layer = _layer_values(f"ip{i}", bottom, f"ip{i}", length, LAST if last else hidden)
        # lr_mult and decay_mult: the bias learns twice as fast, without weight decay.
        layer["rates"] = [(1.0, 1.0), (2.0, 0.0)]
        layer["activation"] = None if last else type_
        layer["activation_name"] = f"{activation.lower()}{i}"
        layers.append(layer)
        bottom = layer["top"]
    values: dict[str, Any] = {
        "name": "mlp_" + "_".join(map(str, lengths)),
        "shape": [1, lengths[0]],
        "layers": layers,
        "source": source,
        "batch": batch,
    }
    texts = [render("mlp", values | {"phase": p}, directory=templates) for p in ("deploy", "train")]
    solver = render(
        "solver",
        {"net": net_file, "base_lr": 0.01, "max_iter": 10000, "stepsize": 5000, "prefix": "mlp"},
        directory=templates,
    )
    Net(prototxt.parse(texts[0], "the rendered net"))
    prototxt.parse(texts[1], "the rendered training net")
    prototxt.parse(solver, "the rendered solver", "SolverParameter")
    return Perceptron(texts[0], texts[1], solver)


def _sizes(sizes: str | Sequence[int]) -> list[int]:
    words = sizes.split("-") if isinstance(sizes, str) else list(map(str, sizes))
    if len(words) < 2 or not all(
        word.isascii() and word.isdigit() and int(word) > 0 for word in words
    ):
        shown = sizes if isinstance(sizes, str) else "-".join(words)
        raise InputError(
            f"invalid layer sizes {shown!r}",
            advice="Write inputs, hidden layers and classes: 784-300-100-10.",
        )
    return [int(word) for word in words]
