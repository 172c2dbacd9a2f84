"""Conversion of unusual PyTorch modules: what comes out, what is refused, and what stays as it was."""

from __future__ import annotations

import numpy as np
import pytest

import protogen as pg
from protogen.errors import InputError, ProtogenWarning, UnsupportedError

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
from torch import nn  # noqa: E402

BIG = 1e6  # no value is larger


def image(seed=0):
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


class Plain(nn.Module):
    """One convolution, and any forward."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.c = nn.Conv2d(3, 3, 1)
        for name, part in parts.items():
            setattr(self, name, part)
        self.code = forward

    def forward(self, *args):
        return self.code(self, *args)


def returned(module, *args):
    module.eval()
    with torch.no_grad():
        return module(*(one.clone() for one in args))


def assert_outputs(converted, tensors, **feeds):
    """Assert that the outputs are these tensors, in order."""
    assert len(converted.outputs) == len(tensors)
    values = pg.run(converted.net, feeds, list(dict.fromkeys(converted.outputs)))
    for name, tensor in zip(converted.outputs, tensors, strict=True):
        assert np.abs(values[name] - tensor.numpy()).max() < 1e-4


def test_outputs_in_any_structure_keep_their_order():
    def forward(self, x):
        y = self.c(x)
        return {"x": y, "b": (x * 2, 3, None), 1: y, "1": x}

    module = Plain(forward)
    converted = pg.from_torch(module, image())
    result = returned(module, image())
    tensors = [result["x"], result["b"][0], result[1], result["1"]]
    assert_outputs(converted, tensors, **{converted.inputs[0]: image().numpy()})
    assert len(set(converted.outputs)) == 4  # each has a blob of its own, also the input
    assert set(converted.outputs) <= set(converted.net.outputs)


def test_inputs_with_the_same_name_or_the_same_memory():
    def forward(self, values):
        return self.c(values["a.b"]) - values["a"]["b"]

    x = image()
    converted = pg.from_torch(Plain(forward), ({"a.b": x, "a": {"b": x}},))
    assert converted.checked.proved
    assert len(converted.inputs) == 2


def test_constant_code_does_not_take_names():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.ones(1))

        def forward(self, x):
            self.mean = self.mean * 0.9 + x.mean() * 0.1
            return x * self.mean

    module = Mean()
    assert pg.from_torch(module, image()).checked.proved
    assert module.mean.item() == 1


class Reverse(nn.Module):
    """Returns the values in another order than it computes them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.first(x)
        return self.second(y), y


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


@pytest.mark.parametrize("exporter", ["torch.export", "torch.jit.trace"])
def test_parts_are_what_they_return(exporter):
    shared = nn.Conv2d(3, 3, 1)
    module = nn.Sequential(shared, nn.Dropout(), Residual(nn.Conv2d(3, 3, 1)), shared, Reverse())
    converted = pg.from_torch(module, image(), exporter=exporter)
    modules = converted.modules
    assert modules["0"] == modules["3"] == ("0", "0_2")
    assert modules["1"] == ("0",)
    assert modules["2"] == ("2.add",)
    assert modules["4"] == ("4.second", "4.first") == converted.outputs


@pytest.mark.parametrize(
    ("end", "outputs"),
    [("1", ("0",)), ("2", ("2.add",)), ("3", ("3.second", "3.first")), ("2.add", ("2.add",))],
)
def test_any_part_can_be_an_output(end, outputs):
    parts = (nn.Conv2d(3, 3, 1), nn.Dropout(), Residual(nn.Conv2d(3, 3, 1)), Reverse())
    module = nn.Sequential(*parts, Last())
    converted = pg.from_torch(module, image(), outputs=[end])
    assert converted.outputs == outputs
    assert converted.checked.proved


class Last(nn.Module):
    def forward(self, pair):
        return pair[0] * pair[1]


def test_code_after_the_last_output_may_read_data():
    def forward(self, x):
        y = self.c(x)
        return y if y.max().item() > BIG else y * 2

    with pytest.raises(UnsupportedError, match="control flow that depends on data"):
        pg.from_torch(Plain(forward), image())
    converted = pg.from_torch(Plain(forward), image(), outputs=["c"])
    assert converted.outputs == ("c",)
    assert converted.checked.proved


def test_a_part_that_is_not_called():
    with pytest.raises(InputError, match=r'outputs "spare": the module does not call'):
        pg.from_torch(Plain(lambda s, x: s.c(x), spare=nn.ReLU()), image(), outputs=["spare"])


def test_a_value_that_no_part_returns_is_told():
    with pytest.warns(ProtogenWarning, match='output "mul" is not compared'):
        converted = pg.from_torch(
            Plain(lambda s, x: s.d(s.c(x) * 2) + 1, d=nn.Conv2d(3, 3, 1)), image(), outputs=["mul"]
        )
    assert converted.outputs == ("mul",)


def test_hooks_of_the_user_are_part_of_the_module():
    module = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    module[0].register_forward_hook(lambda _, __, result: result * 2 + 1)
    module.register_forward_hook(lambda _, __, result: result[:, :, ::2])
    converted = pg.from_torch(module, image())
    assert_outputs(converted, [returned(module, image())], **{converted.inputs[0]: image().numpy()})


class Restless(nn.Module):
    """Changes everything that it can."""

    def __init__(self):
        super().__init__()
        self.c, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.register_buffer("runs", torch.zeros(1))
        self.count, self.cache = 0, {}

    def train(self, mode=True):
        super().train(mode)
        self.c.weight.requires_grad = False
        return self

    def get_extra_state(self):
        return {"count": self.count}

    def set_extra_state(self, state):
        self.count = state["count"]

    def forward(self, x):
        self.runs += 1
        self.count += 1
        self.cache["x"] = self.last = x.add_(self.runs)
        torch.rand(1)
        return self.bn.train()(self.c(x))


@pytest.mark.parametrize("exporter", ["torch.export", "torch.jit.trace"])
@pytest.mark.filterwarnings("ignore")
def test_nothing_is_changed(exporter):
    torch.manual_seed(3)
    module, x = Restless(), image()
    numbers, state = torch.get_rng_state(), {k: v.clone() for k, v in module.bn.named_buffers()}
    try:
        pg.from_torch(module, x, exporter=exporter)
    except pg.ProtogenError:
        assert exporter == "torch.export"  # it takes the statistics of BatchNorm
    assert torch.equal(x, image())
    assert torch.equal(torch.get_rng_state(), numbers)
    assert module.runs.item() == module.count == 0
    assert not module.cache
    assert not hasattr(module, "last")
    assert module.training
    assert module.bn.training
    assert module.c.weight.requires_grad
    assert not module.c._forward_hooks
    for name, buffer in module.bn.named_buffers():
        assert torch.equal(buffer, state[name])


@pytest.mark.parametrize(
    "condition",
    [
        lambda x: x.detach().numpy().max() < BIG,
        lambda x: np.asarray(x).max() < BIG,
        lambda x: max(x.flatten().tolist()) < BIG,
        lambda x: not torch.equal(x, x * 2),
        lambda x: not torch.allclose(x, x * 2),
        lambda x: torch.is_nonzero(x.sum()),
        lambda x: [1, 2][(x.abs().max() > BIG).long()],
    ],
)
def test_code_that_reads_data_is_refused_with_its_line(condition):
    module = Plain(lambda s, x: s.c(x) if condition(x) else x)
    with pytest.raises(UnsupportedError, match=r"test_torch_hostile\.py:\d+: .*depends on data"):
        pg.from_torch(module, image())


@pytest.mark.parametrize("exporter", ["", "torch.jit.trace"])
@pytest.mark.parametrize(
    "size", [lambda x: len(x[x > -BIG]), lambda x: torch.unique(x).numel(), lambda x: 9]
)
def test_shapes_that_depend_on_data_are_not_recorded(size, exporter):
    module = Plain(lambda s, x: s.c(x) * 2 if size(x) > 5 else x)
    if size(image()) == 9:
        assert pg.from_torch(module, image(), exporter=exporter).checked.proved
        return
    with pytest.raises(UnsupportedError):
        pg.from_torch(module, image(), exporter=exporter)


def test_autocast_is_computed_in_float32_with_a_warning():
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.c(x)

    with pytest.warns(ProtogenWarning, match="computes in bfloat16"):
        converted = pg.from_torch(Plain(forward), image())
    assert converted.checked.proved


def test_an_error_of_the_module_is_told():
    with pytest.raises(
        InputError, match="module Conv2d: fails on the example inputs: RuntimeError"
    ):
        pg.from_torch(nn.Conv2d(4, 3, 1), image())


def test_an_output_with_the_name_of_an_input():
    with pytest.raises(InputError, match='"input" is the name of an input'):
        pg.from_torch(nn.ReLU(), image(), output_names=["input"])


class Switches(nn.Module):
    """Calls a function in place of a part while it is exported, as some libraries do."""

    def __init__(self):
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            return self.conv(nn.functional.avg_pool2d(x, 2))
        return self.conv(self.pool(x))


@pytest.mark.parametrize("exporter", ["torch.export", "torch.jit.trace"])
def test_parts_that_are_called_only_in_an_ordinary_run(exporter):
    torch.manual_seed(0)
    converted = pg.from_torch(Switches(), torch.randn(1, 3, 8, 8), exporter=exporter)
    assert converted.checked.proved
    assert converted.modules == {"conv": ("conv",)}


class Cancels(nn.Module):
    """The difference of two large sums, whose roundings depend on the order of the terms."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4096, 16, bias=False)
        self.shift = nn.Linear(4096, 16)
        with torch.no_grad():
            self.shift.weight.zero_()
            self.shift.bias.copy_(-3000 * self.fc.weight.double().sum(1).float())

    def forward(self, x):
        return self.fc(x + 3000) + self.shift(x)


def test_roundings_of_the_module_itself_are_no_difference():
    torch.manual_seed(0)
    with pytest.warns(ProtogenWarning, match="the module's own roundings are of this size"):
        converted = pg.from_torch(Cancels(), torch.randn(4, 4096))
    assert converted.checked.proved
    assert 1e-4 < converted.checked.worst < 1e-2
