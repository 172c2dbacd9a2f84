"""The nets of examples/zoo: seeded weights, and outputs that are neither constant nor saturated."""

from __future__ import annotations

import importlib.util
from functools import cache
from types import ModuleType

import pytest
from places import EXAMPLES

torch = pytest.importorskip("torch", reason="needs PyTorch, which the tests do not install")

ZOO = sorted((EXAMPLES / "zoo").glob("*.py"))
NAMES = [path.stem for path in ZOO]
PARAMETERS = 5_000_000
SPREAD = 1e-3  # smallest standard deviation of an output


@cache
def module_of(name):
    spec = importlib.util.spec_from_file_location(f"zoo_{name}", EXAMPLES / "zoo" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def outputs_of(net, inputs):
    """Run a net; return its outputs as a list."""
    with torch.no_grad():
        result = net(*inputs)
    return [result] if isinstance(result, torch.Tensor) else list(result)


def run_with_head(name):
    """Return the net's outputs, and those of the modules of HEAD by name."""
    module = module_of(name)
    net, inputs = module.build()
    values = {}
    modules = dict(net.named_modules())
    for head in module.HEAD:
        modules[head].register_forward_hook(
            lambda _module, _inputs, output, head=head: values.__setitem__(head, output)
        )
    return outputs_of(net, inputs), values


def test_the_folder_has_the_nets():
    assert {"yolov5", "yolov8", "yolo11", "vit", "swin", "pp_liteseg", "crnn"} <= set(NAMES)
    assert "face_detector" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_build_is_deterministic(name):
    """The state of PyTorch's global generator, which modules draw from, has no effect."""
    torch.manual_seed(5)
    first, inputs = module_of(name).build()
    torch.manual_seed(6)
    second, again = module_of(name).build()
    states = first.state_dict(), second.state_dict()
    assert states[0].keys() == states[1].keys()
    for key, values in states[0].items():
        assert torch.equal(values, states[1][key]), key
    assert len(inputs) == len(again)
    assert all(torch.equal(a, b) for a, b in zip(inputs, again, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_net_is_in_eval_mode_and_small(name):
    net, inputs = module_of(name).build()
    assert not any(module.training for module in net.modules())
    assert sum(values.numel() for values in net.parameters()) < PARAMETERS
    assert all(values.dtype == torch.float32 for values in inputs)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_finite_and_alive(name):
    outputs, heads = run_with_head(name)
    for values in [*outputs, *heads.values()]:
        assert torch.isfinite(values).all()
        assert values.std() > SPREAD
        assert values.flatten().unique().numel() > values.numel() // 2


@pytest.mark.parametrize("name", NAMES)
def test_outputs_depend_on_the_input(name):
    net, inputs = module_of(name).build()
    outputs = outputs_of(net, inputs)
    changed = outputs_of(net, [values.flip(-1) for values in inputs])
    for before, after in zip(outputs, changed, strict=True):
        assert (before - after).abs().max() > 0.05 * before.std()


@pytest.mark.parametrize("name", NAMES)
def test_head_is_modules_with_one_output_each(name):
    module = module_of(name)
    net, _ = module.build()
    assert set(module.HEAD) <= {key for key, _ in net.named_modules()}
    assert len(set(module.HEAD)) == len(module.HEAD)
    _, heads = run_with_head(name)
    assert heads.keys() == set(module.HEAD)
    assert all(isinstance(values, torch.Tensor) for values in heads.values())


@pytest.mark.parametrize("name", NAMES)
def test_running_statistics_are_those_of_data(name):
    net, _ = module_of(name).build()
    for key, module in net.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean.abs().max() > 1e-3, key
            assert (module.running_var > 0).all(), key
            assert (module.running_var - 1).abs().max() > 1e-3, key


@pytest.mark.parametrize("name", NAMES)
def test_docstring_names_input_output_and_what_is_left_out(name):
    text = module_of(name).__doc__
    for word in ("Input:", "Output", "Left out:", "HEAD"):
        assert word in text
