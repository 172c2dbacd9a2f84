"""ONNX's own test cases: which results Caffe can hold, and what the import makes of each case."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

import protogen as pg
from protogen.errors import ProtogenError
from protogen.layers import kind_of
from protogen.onnx.importer import ImportedNet, import_model
from protogen.onnx.session import run_model

Arrays = Mapping[str, NDArray[Any]]

KINDS = ("node", "pytorch-converted", "pytorch-operator", "simple")
FLOATS = ("float32", "float16", "float64", "bfloat16")
EXACT = 2**24  # float32 holds every whole number up to this
AXES = 8  # most axes that the other layers of a net take, and the page's limit
# Relative to the largest value. The expected values of float16 and bfloat16 cases are computed in these
# types, with steps of 1e-3 and 8e-3; the net computes in float32.
TOLERANCES = {"float16": 2e-3, "bfloat16": 1e-2}
TOLERANCE = 1e-4  # as for Caffe's golden values; most errors are below 1e-6
# A part of the statement that the net gives NaN where Where of the model hides it.
WITHOUT_HIDING = "infinity and NaN in the value that is not chosen are not hidden"
# Cases whose expected values have four digits only.
FOUR_DIGITS = {"test_averagepool_2d_ceil_last_window_starts_on_pad"}
# The expected values divide by a length that is not rounded, against the text of the standard. The
# nets compute what onnxruntime and PyTorch compute.
BY_ONNXRUNTIME = {
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners",
}


@dataclass(frozen=True)
class Case:
    """A case with its data: arrays, or lists and None where the model has sequences and optionals."""

    kind: str
    name: str
    model: ModelProto
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]

    @property
    def types(self) -> list[str]:
        """The types of the model's operators, each once, without constants."""
        nodes = [node.op_type for node in self.model.graph.node]
        return list(dict.fromkeys(one for one in nodes if one != "Constant")) or nodes

    @property
    def short(self) -> str:
        """The name without the beginning that all names have."""
        return self.name.removeprefix("test_")


@dataclass(frozen=True)
class Written:
    """A net of a case, and what it has to compute."""

    net: pg.Net
    feeds: Arrays
    expected: Arrays
    tolerance: float


@dataclass
class Result:
    """What the import makes of a case.

    Attributes:
        operator: the operator that the case is for; empty if it has several.
        refusals: why each attempt was refused: (operator, reason).
        faults: wrong numbers, and errors other than refusals.
        stated: numbers that differ in a way that the import states.
        written: the net of the first attempt that was imported.
        constant: whether that net has no input.
        layers: the types of its layers.
    """

    case: Case
    operator: str
    refusals: list[tuple[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    stated: list[str] = field(default_factory=list)
    written: Written | None = None
    approximated: tuple[str, ...] = ()
    layers: frozenset[str] = frozenset()

    def attempt(self, computed: Sequence[str]) -> None:
        """Import the case with these inputs computed, and compare the numbers."""
        case = self.case
        fed = {value.name: a for value, a in zip(_fed(case.model), case.inputs, strict=True)}
        fixed = with_constants(case.model, {n: a for n, a in fed.items() if n not in computed})
        try:
            imported = import_model(fixed)
        except (pg.UnsupportedError, pg.InputError) as error:
            self.refusals.append(reason_of(error))
            return
        except ProtogenError as error:
            self.faults.append(f"is not refused, but fails: {error}")
            return
        except Exception as error:
            error.add_note(f"while importing {case.name} with computed {computed}")
            raise
        written = _written(case, fixed, imported, {name: fed[name] for name in computed})
        wrong = check(written)
        if wrong and any(WITHOUT_HIDING in note for note in imported.approximated):
            self.stated += wrong
            wrong = check(written, hidden=True)
        self.faults += wrong
        if self.written is None:
            self.written, self.approximated = written, imported.approximated
            self.layers = frozenset(layer.type for layer in imported.net.layers)

    @property
    def converts(self) -> bool:
        """Whether a net is written that gives the expected values."""
        return self.written is not None and not self.faults and not self.stated

    @property
    def constant(self) -> bool:
        return self.written is not None and not self.written.feeds


def _array(value: Any) -> Any:
    """Return a tensor as an array; sequences, optionals and strings as they are."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def _stored(kind: str) -> Iterator[Case]:
    """Yield the cases that are files of the onnx package."""
    for case in load_model_tests(kind=kind):
        folder = Path(case.model_dir)
        model = onnx.load(str(folder / "model.onnx"))
        values = {"input": _fed(model), "output": list(model.graph.output)}
        arrays = {
            side: tuple(
                _read(folder / "test_data_set_0" / f"{side}_{i}.pb", value)
                for i, value in enumerate(of)
            )
            for side, of in values.items()
        }
        yield Case(kind, case.name, model, arrays["input"], arrays["output"])


def _read(path: Path, value: onnx.ValueInfoProto) -> Any:
    if value.type.WhichOneof("value") != "tensor_type":
        return []
    return numpy_helper.to_array(onnx.load_tensor(str(path)))


def _fed(model: ModelProto) -> list[onnx.ValueInfoProto]:
    """Return the inputs of a model, without those that are constants."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


@functools.cache
def all_cases() -> tuple[Case, ...]:
    """Return all cases of the onnx package that need no download, by kind and name."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the arithmetic in the definitions of cases
        generated = collect_testcases(None)
    cases = [case for kind in KINDS[1:] for case in _stored(kind)]
    for case in generated:
        inputs, outputs = (tuple(map(_array, side)) for side in case.data_sets[0])
        cases.append(Case("node", case.name, case.model, inputs, outputs))
    return tuple(sorted(cases, key=lambda one: (KINDS.index(one.kind), one.name)))


def _beyond_float32(array: Any) -> bool:
    """Whether an array has numbers that float32 rounds to infinity or to 0."""
    if getattr(array, "dtype", None) != np.float64:
        return False
    size = np.abs(array[np.isfinite(array) & (array != 0)])
    limits = np.finfo(np.float32)
    return bool((size > limits.max).any() or (size < limits.tiny).any())


def obstacle(case: Case) -> str:
    """Return why Caffe cannot hold a result of the case; empty if it can. Blobs are float32."""
    if any(map(_beyond_float32, (*case.inputs, *case.outputs))):
        return "numbers that float32 cannot hold"
    for value, array in zip(case.model.graph.output, case.outputs, strict=True):
        form = value.type.WhichOneof("value")
        if form != "tensor_type":
            return form.removesuffix("_type")
        name = array.dtype.name
        if name == "bool":
            return "truth values"
        if array.dtype.kind in "OUST":
            return "strings"
        if "int" in name:
            return "integers" if array.dtype.kind in "iu" else "integers of 2 or 4 bits"
        if name not in FLOATS:
            return "floats of 4 or 8 bits" if "float" in name else name
        if not array.size:
            return "an empty tensor"
        if array.ndim > AXES:
            return f"more than {AXES} axes"
    return ""


def tolerance(case: Case) -> float:
    """Return the largest error relative to the largest value."""
    if case.name in FOUR_DIGITS:
        return 1e-3
    names = {array.dtype.name for array in (*case.inputs, *case.outputs) if hasattr(array, "dtype")}
    return max(TOLERANCES.get(name, TOLERANCE) for name in names)


def with_constants(model: ModelProto, values: Arrays) -> ModelProto:
    """Return the model with some of its inputs as constants."""
    fixed = ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.input[:]
    fixed.graph.input.extend(one for one in model.graph.input if one.name not in values)
    fixed.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in values.items())
    return fixed


def attempts(case: Case) -> tuple[list[list[str]], list[list[str]]]:
    """Return the inputs to compute in each attempt; the others are constants, like weights.

    First all inputs that float32 holds exactly, then those that are float, then the first of these (of
    a case without float inputs none). The second list is for a case that is refused in all of these:
    each input alone.
    """
    arrays = {value.name: a for value, a in zip(_fed(case.model), case.inputs, strict=True)}
    filled = {name: array for name, array in arrays.items() if array.size}
    floats = [name for name, array in filled.items() if array.dtype.name in FLOATS]
    exact = [
        name
        for name, array in filled.items()
        if name in floats
        or (array.dtype.kind in "iub" and np.abs(array.astype(np.float64)).max() <= EXACT)
    ]
    tries = [exact, floats, floats[:1]]
    tries = [one for i, one in enumerate(tries) if one not in tries[:i]]
    return tries, [[name] for name in exact if [name] not in tries]


def operators_of(cases: Sequence[Case]) -> dict[str, str]:
    """Return the operator of each case that has one, by name. A case whose operator is expanded
    belongs to the same operator."""
    single = {case.name: case.types[0] for case in cases if len(case.types) == 1}
    return {
        case.name: single.get(re.sub(r"_expanded\w*$", "", case.name), single.get(case.name, ""))
        for case in cases
    }


def reason_of(error: ProtogenError) -> tuple[str, str]:
    """Return the first reason of a refusal: the operator's type and the sentence."""
    diagnostic = error.diagnostic
    text = diagnostic.lines[0].strip() if diagnostic.lines else str(diagnostic)
    match = re.match(r'operator ".*?" \((\w+)\): (.*)', text)
    return (match[1], match[2]) if match else ("", text)


def result_of(case: Case, operator: str) -> Result:
    """Import the case in every attempt, and compare the numbers of each that is imported. A case whose
    operator is expanded is tried until it is imported: there is another case of the operator itself."""
    result = Result(case, operator)
    if not all(
        isinstance(array, np.ndarray) and array.dtype.kind not in "OUST" for array in case.inputs
    ):
        try:
            import_model(case.model)
        except (pg.UnsupportedError, pg.InputError) as error:
            result.refusals.append(reason_of(error))
        else:
            result.faults.append("is imported, but has inputs other than numbers")
        return result
    tries, alone = attempts(case)
    for computed in tries:
        if result.written is None or "_expanded" not in case.name:
            result.attempt(computed)
    for computed in alone:
        if result.written is None:
            result.attempt(computed)
    del result.refusals[len(tries) :]  # those of inputs that models compute say less
    return result


def _written(case: Case, model: ModelProto, imported: ImportedNet, feeds: Arrays) -> Written:
    assert all(kind_of(layer).stock for layer in imported.net.layers), case.name
    blobs = [imported.blobs.get(value.name, value.name) for value in model.graph.output]
    outputs: Sequence[NDArray[Any]] = case.outputs
    if case.name in BY_ONNXRUNTIME:
        outputs = list(run_model(model.SerializeToString(), feeds).values())
    named = {imported.blobs.get(name, name): array for name, array in feeds.items()}
    return Written(imported.net, named, dict(zip(blobs, outputs, strict=True)), tolerance(case))


def check(written: Written, hidden: bool = False) -> list[str]:
    """Run a net in protogen; return how its numbers differ. See ``differences`` for ``hidden``."""
    try:
        actual = pg.run(written.net, written.feeds, blobs=list(written.expected))
    except ProtogenError as error:
        return [f"cannot be run: {error}"]
    return differences(written, actual, hidden)


def differences(written: Written, actual: Arrays, hidden: bool = False) -> list[str]:
    """Return how arrays differ from the expected ones. ``hidden``: they may have NaN anywhere."""
    texts = []
    for blob, expected in written.expected.items():
        if actual[blob].shape != expected.shape:
            texts.append(f'"{blob}" has the shape {actual[blob].shape}, expected {expected.shape}')
            continue
        x, y = (array.astype(np.float64) for array in (actual[blob], expected))
        if hidden:
            x = np.where(np.isnan(x), y, x)
        largest = np.abs(y[np.isfinite(y)]).max(initial=0)
        if not np.allclose(x, y, rtol=0, atol=written.tolerance * largest, equal_nan=True):
            with np.errstate(invalid="ignore"):
                error = np.abs(x - y)
            texts.append(
                f'"{blob}" differs by {np.nanmax(error, initial=0):.2g} (largest value {largest:.2g})'
                f"{', NaN' * bool(np.isnan(x).sum() != np.isnan(y).sum())}"
            )
    return texts


@functools.cache
def results() -> tuple[Result, ...]:
    """Import and run all cases whose results Caffe can hold, or that are integers or truth values,
    which it holds as numbers."""
    cases = all_cases()
    operators = operators_of(cases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pg.ProtogenWarning)
        return tuple(
            result_of(case, operators[case.name])
            for case in cases
            if obstacle(case) in ("", "integers", "truth values")
        )
