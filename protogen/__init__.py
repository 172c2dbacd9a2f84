"""protogen: the Caffe toolchain that needs no Caffe.

    import protogen as pg
    up = pg.upsample(factor=2, channels=64, bottom="conv5", top="up5")
    print(up.prototxt)

Everything public is here. Names are loaded when they are first used, so that importing protogen
costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from protogen.activation_facts import Activation, activations
    from protogen.comparison import Comparison, verify
    from protogen.conversion import Converted, convert
    from protogen.dense_layers import Dense, Perceptron, dense, perceptron
    from protogen.differences import diff
    from protogen.errors import (
        InputError,
        MismatchError,
        ProtogenError,
        ProtogenWarning,
        UnsupportedError,
    )
    from protogen.initialisation import initialise
    from protogen.lifting import Imported, Verdict, check_onnx, convert_onnx, from_onnx
    from protogen.lint.engine import Checked, check_file, check_text
    from protogen.net import Net, load
    from protogen.netspec import NetSpec, params, to_proto
    from protogen.onnx import Preprocessing, to_onnx
    from protogen.plugins import layer
    from protogen.preprocessing import Preprocessed, preprocess
    from protogen.reporting import draw, write_report
    from protogen.resample import resampling_matrix
    from protogen.resizing import Plan, resize
    from protogen.rewriting import Rewritten, rewrite
    from protogen.runtime import run
    from protogen.schema import add_proto
    from protogen.signals.examine import Health, health
    from protogen.specfile import load_spec
    from protogen.splicing import splice
    from protogen.statistics import Statistics, picture_statistics, whitening
    from protogen.training.diagnosing import Diagnosis, diagnose
    from protogen.transforms import Transform
    from protogen.upsampling import Upsampling, upsample
    from protogen.verification import verify_upsampling

_HOMES = {
    "Activation": "activation_facts",
    "activations": "activation_facts",
    "Comparison": "comparison",
    "Converted": "conversion",
    "InputError": "errors",
    "Preprocessing": "onnx",
    "Imported": "lifting",
    "Verdict": "lifting",
    "Checked": "lint.engine",
    "check_file": "lint.engine",
    "check_text": "lint.engine",
    "check_onnx": "lifting",
    "convert": "conversion",
    "convert_onnx": "lifting",
    "Dense": "dense_layers",
    "Perceptron": "dense_layers",
    "dense": "dense_layers",
    "perceptron": "dense_layers",
    "Diagnosis": "training.diagnosing",
    "diagnose": "training.diagnosing",
    "from_onnx": "lifting",
    "Health": "signals.examine",
    "health": "signals.examine",
    "initialise": "initialisation",
    "layer": "plugins",
    "Preprocessed": "preprocessing",
    "preprocess": "preprocessing",
    "Statistics": "statistics",
    "picture_statistics": "statistics",
    "whitening": "statistics",
    "Transform": "transforms",
    "add_proto": "schema",
    "diff": "differences",
    "MismatchError": "errors",
    "Net": "net",
    "NetSpec": "netspec",
    "Plan": "resizing",
    "ProtogenError": "errors",
    "ProtogenWarning": "errors",
    "UnsupportedError": "errors",
    "Upsampling": "upsampling",
    "load": "net",
    "load_spec": "specfile",
    "Rewritten": "rewriting",
    "params": "netspec",
    "resampling_matrix": "resample",
    "draw": "reporting",
    "write_report": "reporting",
    "resize": "resizing",
    "rewrite": "rewriting",
    "run": "runtime",
    "splice": "splicing",
    "to_onnx": "onnx",
    "to_proto": "netspec",
    "upsample": "upsampling",
    "verify": "comparison",
    "verify_upsampling": "verification",
}

__all__ = [
    "Activation",
    "Checked",
    "Comparison",
    "Converted",
    "Dense",
    "Diagnosis",
    "Health",
    "Imported",
    "InputError",
    "MismatchError",
    "Net",
    "NetSpec",
    "Perceptron",
    "Plan",
    "Preprocessed",
    "Preprocessing",
    "ProtogenError",
    "ProtogenWarning",
    "Rewritten",
    "Statistics",
    "Transform",
    "UnsupportedError",
    "Upsampling",
    "Verdict",
    "__version__",
    "activations",
    "add_proto",
    "check_file",
    "check_onnx",
    "check_text",
    "convert",
    "convert_onnx",
    "dense",
    "diagnose",
    "diff",
    "draw",
    "from_onnx",
    "health",
    "initialise",
    "layer",
    "layers",
    "load",
    "load_spec",
    "params",
    "perceptron",
    "picture_statistics",
    "preprocess",
    "resampling_matrix",
    "resize",
    "rewrite",
    "run",
    "splice",
    "to_onnx",
    "to_proto",
    "upsample",
    "verify",
    "verify_upsampling",
    "whitening",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "layers":
        return import_module("protogen.layers")
    if name not in _HOMES:
        raise AttributeError(f"module 'protogen' has no attribute {name!r}")
    value = getattr(import_module(f"protogen.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
