"""protogen: a Caffe toolchain that does not need Caffe.

    import protogen as pg
    up = pg.upsample(factor=2, channels=64, bottom="conv5", top="up5")
    print(up.prototxt)

This module holds the public API. Each name is imported when it is first used, so that
``import protogen`` is fast.
"""

from collections.abc import Callable
from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any

from protogen import _late
from protogen._version import __version__

if TYPE_CHECKING:
    from protogen.converting.caffe_to_onnx import Converted, convert
    from protogen.converting.comparison import Comparison, verify
    from protogen.converting.cutting import cut, cut_file, rest_of
    from protogen.converting.many import Outcome, convert_all
    from protogen.converting.onnx_to_caffe import Imported, convert_onnx
    from protogen.converting.parts import Cut, PartFile
    from protogen.converting.sources import Source, sources_of
    from protogen.errors import (
        InputError,
        MismatchError,
        ProtogenError,
        ProtogenWarning,
        UnsupportedError,
    )
    from protogen.formats.picture import Picture
    from protogen.formats.schema.extension import add_proto
    from protogen.generate.dense import Dense, Perceptron, dense, perceptron
    from protogen.generate.plan import Plan
    from protogen.generate.rescuing import Rescued, rescue
    from protogen.generate.resizing import resize
    from protogen.generate.rewriting import Rewritten, rewrite
    from protogen.generate.specfile import load_spec
    from protogen.generate.splicing import splice
    from protogen.generate.targeting import TargetNet, rewrite_for
    from protogen.generate.upsampling import Upsampling, upsample
    from protogen.generate.verification import verify_upsampling
    from protogen.layers.plugins import layer
    from protogen.legalization.legalize import Legalized, legalize
    from protogen.lint.engine import Checked, check_file, check_text
    from protogen.net.dialects import dialects_of
    from protogen.net.differences import diff
    from protogen.net.net import Net, load
    from protogen.net.netspec import NetSpec, params, to_proto
    from protogen.net.summary import Summary
    from protogen.net.targets import TargetReport, check_target
    from protogen.onnx import Preprocessing, to_onnx
    from protogen.onnx.exporter.verdicts import check_caffe
    from protogen.onnx.importer import check_onnx, from_onnx
    from protogen.onnx.verdict import Verdict
    from protogen.preprocessing.insertion import preprocess
    from protogen.preprocessing.proving import Preprocessed
    from protogen.preprocessing.statistics import Statistics, picture_statistics, whitening
    from protogen.preprocessing.transforms import Transform
    from protogen.pytorch.conversion import from_torch
    from protogen.pytorch.net import TorchNet
    from protogen.report.draw import draw
    from protogen.report.write import write_report
    from protogen.resampling.matrices import resampling_matrix
    from protogen.running.ranges import HalfCheck, half_check
    from protogen.running.runtime import run
    from protogen.running.trying import Trial, try_net
    from protogen.toolchains.detection import Detection
    from protogen.training.activations import Activation, activations
    from protogen.training.diagnosis import Diagnosis, diagnose
    from protogen.training.initialisation import initialise
    from protogen.training.signals.health import Health, health
    from protogen.viewing.server import view

_HOMES = {
    "Activation": "training.activations",
    "activations": "training.activations",
    "Comparison": "converting.comparison",
    "Converted": "converting.caffe_to_onnx",
    "InputError": "errors",
    "Preprocessing": "onnx",
    "Imported": "converting.onnx_to_caffe",
    "TargetReport": "net.targets",
    "Verdict": "onnx.verdict",
    "Checked": "lint.engine",
    "check_file": "lint.engine",
    "check_text": "lint.engine",
    "check_caffe": "onnx.exporter.verdicts",
    "check_onnx": "onnx.importer",
    "check_target": "net.targets",
    "convert": "converting.caffe_to_onnx",
    "Outcome": "converting.many",
    "Source": "converting.sources",
    "convert_all": "converting.many",
    "sources_of": "converting.sources",
    "convert_onnx": "converting.onnx_to_caffe",
    "Cut": "converting.parts",
    "PartFile": "converting.parts",
    "cut": "converting.cutting",
    "cut_file": "converting.cutting",
    "rest_of": "converting.cutting",
    "Dense": "generate.dense",
    "Perceptron": "generate.dense",
    "dense": "generate.dense",
    "perceptron": "generate.dense",
    "Diagnosis": "training.diagnosis",
    "diagnose": "training.diagnosis",
    "from_onnx": "onnx.importer",
    "TorchNet": "pytorch.net",
    "from_torch": "pytorch.conversion",
    "HalfCheck": "running.ranges",
    "half_check": "running.ranges",
    "Health": "training.signals.health",
    "health": "training.signals.health",
    "initialise": "training.initialisation",
    "Legalized": "legalization.legalize",
    "legalize": "legalization.legalize",
    "TargetNet": "generate.targeting",
    "rewrite_for": "generate.targeting",
    "layer": "layers.plugins",
    "Preprocessed": "preprocessing.proving",
    "preprocess": "preprocessing.insertion",
    "Statistics": "preprocessing.statistics",
    "Summary": "net.summary",
    "Picture": "formats.picture",
    "picture_statistics": "preprocessing.statistics",
    "whitening": "preprocessing.statistics",
    "Transform": "preprocessing.transforms",
    "add_proto": "formats.schema.extension",
    "Detection": "toolchains.detection",
    "dialects_of": "net.dialects",
    "diff": "net.differences",
    "MismatchError": "errors",
    "Net": "net.net",
    "NetSpec": "net.netspec",
    "Plan": "generate.plan",
    "ProtogenError": "errors",
    "ProtogenWarning": "errors",
    "UnsupportedError": "errors",
    "Upsampling": "generate.upsampling",
    "load": "net.net",
    "load_spec": "generate.specfile",
    "Rescued": "generate.rescuing",
    "rescue": "generate.rescuing",
    "Rewritten": "generate.rewriting",
    "params": "net.netspec",
    "resampling_matrix": "resampling.matrices",
    "draw": "report.draw",
    "write_report": "report.write",
    "resize": "generate.resizing",
    "rewrite": "generate.rewriting",
    "run": "running.runtime",
    "splice": "generate.splicing",
    "to_onnx": "onnx",
    "Trial": "running.trying",
    "try_net": "running.trying",
    "to_proto": "net.netspec",
    "upsample": "generate.upsampling",
    "verify": "converting.comparison",
    "verify_upsampling": "generate.verification",
    "view": "viewing.server",
}

__all__ = [
    "Activation",
    "Checked",
    "Comparison",
    "Converted",
    "Cut",
    "Dense",
    "Detection",
    "Diagnosis",
    "HalfCheck",
    "Health",
    "Imported",
    "InputError",
    "Legalized",
    "MismatchError",
    "Net",
    "NetSpec",
    "Outcome",
    "PartFile",
    "Perceptron",
    "Picture",
    "Plan",
    "Preprocessed",
    "Preprocessing",
    "ProtogenError",
    "ProtogenWarning",
    "Rescued",
    "Rewritten",
    "Source",
    "Statistics",
    "Summary",
    "TargetNet",
    "TargetReport",
    "TorchNet",
    "Transform",
    "Trial",
    "UnsupportedError",
    "Upsampling",
    "Verdict",
    "__version__",
    "activations",
    "add_proto",
    "check_caffe",
    "check_file",
    "check_onnx",
    "check_target",
    "check_text",
    "convert",
    "convert_all",
    "convert_onnx",
    "cut",
    "cut_file",
    "dense",
    "diagnose",
    "dialects_of",
    "diff",
    "draw",
    "from_onnx",
    "from_torch",
    "half_check",
    "health",
    "initialise",
    "layer",
    "layers",
    "legalize",
    "load",
    "load_spec",
    "params",
    "perceptron",
    "picture_statistics",
    "preprocess",
    "resampling_matrix",
    "rescue",
    "resize",
    "rest_of",
    "rewrite",
    "rewrite_for",
    "run",
    "sources_of",
    "splice",
    "to_onnx",
    "to_proto",
    "try_net",
    "upsample",
    "verify",
    "verify_upsampling",
    "view",
    "whitening",
    "write_report",
]


def _layer_maker(name: str) -> Any:
    return getattr(import_module("protogen.net.netspec").layers, name)


def _upper(module: str, name: str) -> Callable[..., Any]:
    """Return a function of a later module, which is imported when the function is called."""

    def call(*arguments: Any) -> Any:
        return getattr(import_module(f"protogen.{module}"), name)(*arguments)

    return call


_late.layer_maker = _layer_maker
_late.one_line = _upper("notebook", "one_line")
_late.html = _upper("notebook", "html")
_late.net_picture = _upper("notebook.pictures", "net_picture")
_late.plot = _upper("notebook.pictures", "plot")


def __getattr__(name: str) -> Any:
    if name == "layers":
        return import_module("protogen.layers")
    if name not in _HOMES:
        raise AttributeError(f"module 'protogen' has no attribute {name!r}")
    value = getattr(import_module(f"protogen.{_HOMES[name]}"), name)
    if isinstance(value, FunctionType):
        value = import_module("protogen._arguments").checked(value)
        value.__module__ = "protogen"  # where pickle finds it
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
