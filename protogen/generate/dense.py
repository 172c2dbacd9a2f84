"""Dense layers from weights of either orientation, and nets of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protogen.errors import InputError, MismatchError
from protogen.formats import files, prototxt
from protogen.formats.render import render
from protogen.layers import LayerType
from protogen.layers.fillers import Filler
from protogen.layers.recommending import LAST
from protogen.net.net import Net

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ORIENTATIONS = {"xw": "Y = XW", "wx": "Y = WX"}
# Those of BVLC Caffe that need no parameters and no weights.
ACTIVATIONS = {
    name.lower(): name
    for name, kind in LayerType.registry.items()
    if kind.activation and kind.stock and kind.is_plain
}
TOLERANCE = 1e-5  # of the largest value: sums of float32 products


@dataclass(frozen=True)
class Dense:
    """A dense layer: its text, its net with the weights (input data), and what the weights were."""

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
        """Writes the layer's text, and its weights.

        Raises:
            InputError: a path cannot be written.
        """
        from protogen.formats.caffemodel import write_weights

        with ExitStack() as stack:
            if prototxt_path is not None:
                file = stack.enter_context(files.replacing(prototxt_path))
                file.write(self.prototxt.encode())
            if caffemodel is not None:
                file = stack.enter_context(files.replacing(caffemodel))
                write_weights(file, self.net.name, self.net.entries())

    def verify(self, weights: NDArray[Any], bias: NDArray[Any] | None, seed: int = 0) -> float:
        """The largest error of the layer, run by onnxruntime, against the product of the matrices as
        they were given, in float64; a part of the largest value.

        Raises:
            MismatchError: it is above 1e-5.
        """
        import numpy as np

        from protogen.running.runtime import run

        x = np.random.default_rng(seed).standard_normal((5, self.inputs)).astype(np.float32)
        w = weights.astype(np.float64)
        wanted = x @ w if self.orientation == "xw" else (w @ x.T).T
        if bias is not None:
            wanted = wanted + bias.reshape(-1)
        found = run(self.net.with_inputs({"data": x.shape}), {"data": x})[self.net.outputs[0]]
        error = float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))
        if not error < TOLERANCE:
            raise MismatchError(f"differs from the product by {error:.2g}", subject=self.name)
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
    """An InnerProduct layer with these weights, which are copied only where their type or their
    layout in memory asks for it.

    Args:
        weights: W. With ``orientation`` "xw" it is inputs x outputs, for Y = XW with samples in rows;
            with "wx" outputs x inputs, for Y = WX with samples in columns.
        bias: one number for each output.
        inputs: how many the layer must have; only checked.
        input_shape: the shape of the net's input: the text is then a whole net.

    Raises:
        InputError: the orientation is not known, W is no matrix, or the shapes do not fit; it says
            which orientation would.
    """
    import numpy as np

    if orientation not in ORIENTATIONS:
        raise InputError(
            f"{orientation!r} is not xw or wx",
            subject="orientation",
            advice="xw is Y = XW (W inputs x outputs), wx is Y = WX (W outputs x inputs).",
        )
    if weights.ndim != 2 or 0 in weights.shape or weights.dtype.kind not in "fiu":
        raise InputError(
            f"is {'x'.join(map(str, weights.shape))} of {weights.dtype}, but must be a matrix "
            "of numbers",
            subject="weights",
        )
    rows, columns = weights.shape
    k, n = (rows, columns) if orientation == "xw" else (columns, rows)
    given = input_shape[-1] if input_shape else inputs
    _check(orientation, (rows, columns), "inputs", given, k, n)
    _check(orientation, (rows, columns), "outputs", None if bias is None else bias.size, n, k)
    if not np.isfinite(weights).all() or (bias is not None and not np.isfinite(bias).all()):
        raise InputError("hold NaN or infinities", subject="weights")
    # Caffe's own layout is (N, K); with transpose (K, N). Whichever is contiguous needs no copy.
    as_is = weights if weights.flags.c_contiguous or not weights.flags.f_contiguous else weights.T
    blob = np.asarray(as_is, np.float32, order="C")
    transpose = blob.shape == (k, n) if k != n else (orientation == "xw") == (as_is is weights)
    blobs = [blob]
    if bias is not None:
        blobs.append(np.ascontiguousarray(bias.reshape(-1), np.float32))
    layer = _layer(name, bottom, name if top is None else top, n, None, transpose, bias is not None)
    whole = render("input", {"name": bottom, "shape": list(input_shape or (1, k))})
    text = render("inner_product", {"layer": layer})
    net = Net(prototxt.parse(whole + text, "the layer"), {name: blobs})
    net.check_weights()
    return Dense(whole + text if input_shape else text, net, name, orientation, k, n)


def _check(
    orientation: str, shape: tuple[int, int], what: str, given: int | None, own: int, other: int
) -> None:
    if given is None or given == own:
        return
    turned = "wx" if orientation == "xw" else "xw"
    rows, columns = shape
    source = "the bias has" if what == "outputs" else "the layer is to have"
    numbers = "values" if what == "outputs" else "inputs"
    advice = f"Look at the shapes: {rows} rows, {columns} columns."
    if given == other:
        advice = f"With --orientation {turned} ({ORIENTATIONS[turned]}) it fits."
    raise InputError(
        f"{source} {given} {numbers}, but {ORIENTATIONS[orientation]} with W of {rows}x{columns} "
        f"has {own} {what}",
        advice=advice,
    )


def _layer(
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


@dataclass(frozen=True, slots=True)
class Perceptron:
    """Texts of a net of dense layers: for use, for training, and its solver."""

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
    """A multi-layer perceptron with fillers that suit its activation: xavier before tanh and sigmoid
    (Glorot and Bengio 2010), msra before the ReLU family (He et al. 2015), a small Gaussian for the
    scores; softmax at the end.

    Args:
        sizes: inputs, hidden layers, classes: "784-300-100-10".
        source: prefix of the LMDB databases: SOURCE_train and SOURCE_test.
        net_file: what the solver calls the training net.
        templates: a folder of templates that override ours.

    Raises:
        InputError: sizes or activation are not understood.
    """
    lengths = _sizes(sizes)
    if activation.lower() not in ACTIVATIONS:
        raise InputError(
            f"{activation!r} is not known",
            subject="activation",
            advice=f"Known are {', '.join(ACTIVATIONS)}.",
        )
    type_ = ACTIVATIONS[activation.lower()]
    saturates = LayerType.registry[type_].activation == "saturating"
    hidden = Filler("xavier" if saturates else "msra")
    layers = []
    bottom = "data"
    for i, length in enumerate(lengths[1:], 1):
        last = i == len(lengths) - 1
        layer = _layer(f"ip{i}", bottom, f"ip{i}", length, LAST if last else hidden)
        layer["rates"] = [(1.0, 1.0), (2.0, 0.0)]  # biases learn faster, and are not decayed
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


def _sizes(given: str | Sequence[int]) -> list[int]:
    words = given.split("-") if isinstance(given, str) else list(map(str, given))
    if len(words) < 2 or not all(w.isascii() and w.isdigit() and int(w) > 0 for w in words):
        shown = given if isinstance(given, str) else "-".join(words)
        raise InputError(
            f"{shown!r} are no layer sizes",
            advice="Write inputs, hidden layers and classes: 784-300-100-10.",
        )
    return [int(word) for word in words]
