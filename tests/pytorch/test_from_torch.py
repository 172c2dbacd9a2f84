"""Conversion of PyTorch modules: numbers, names, memory, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

import protogen as pg
from protogen.errors import InputError, MismatchError, ProtogenWarning, UnsupportedError
from protogen.formats.caffemodel import write_weights
from protogen.layers import kind_of

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

EXPORTERS = ("torch.export", "torch.jit.trace")


def image(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(module):
    """Return the module with random values that do not depend on other tests."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in module.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            with torch.no_grad():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.5)
    return module


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        return self.relu(x + self.conv2(self.relu(self.bn1(self.conv1(x)))))


class Net(nn.Module):
    """A small residual net with two outputs in a dict."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.layer1 = nn.Sequential(Block(), Block())
        self.drop = nn.Dropout(0.5)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        features = self.layer1(self.stem(x))
        up = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=False)
        return {"scores": self.fc(self.drop(self.pool(features).flatten(1))), "map": up}


@pytest.mark.parametrize("exporter", ["", *EXPORTERS])
def test_a_net_is_proved_and_named_after_its_modules(exporter):
    module = seeded(Net()).train()
    converted = pg.from_torch(module, image(2, 3, 16, 16), exporter=exporter)
    assert converted.exporter == (exporter or "torch.export")
    assert converted.checked.proved
    assert converted.checked.worst < 2e-6
    assert converted.inputs == ("x",)
    assert converted.outputs == ("scores", "map")
    names = {layer.name for layer in converted.net.layers}
    assert {"stem.0", "stem.1", "layer1.0.conv1", "layer1.0.bn1", "layer1.1.conv2"} <= names
    assert {"layer1.0.add", "layer1.0.relu", "layer1.0.relu_2"} <= names
    assert converted.modules["layer1.1"] == ("layer1.1.add",)  # ReLU works in place
    assert module.training  # its mode is restored
    assert all(kind_of(layer).stock for layer in converted.net.layers)
    assert len(converted.checked.rows) > 2  # what the parts return is compared too


def test_both_exporters_give_the_same_layers():
    layers = [
        [
            (one.name, one.type)
            for one in pg.from_torch(seeded(Net()), image(1, 3, 16, 16), exporter=name).net.layers
            if "map" not in one.name and one.name.partition(".")[0] != "pool"
        ]
        for name in EXPORTERS
    ]
    assert layers[0] == layers[1]


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_large_weights_are_views_of_the_parameters(exporter):
    module = seeded(Net())
    converted = pg.from_torch(module, image(1, 3, 16, 16), exporter=exporter)
    weight = converted.net.weights["layer1.0.conv1"][0]
    assert np.shares_memory(weight, module.layer1[0].conv1.weight.detach().numpy())
    assert len(converted.net.weights["layer1.0.conv1"]) == 1  # no bias of zeros
    assert len(converted.net.weights["layer1.0.conv2"]) == 2


MEMORY = """
import resource, sys
import torch
import protogen as pg
pg.from_torch(torch.nn.Linear(8, 8), torch.randn(1, 8), exporter=sys.argv[1])
module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Flatten(), torch.nn.Linear(4096, 20000))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
base = peak()
pg.from_torch(module, torch.randn(1, 3, 32, 32), exporter=sys.argv[1])
print((peak() - base) / (4096 * 20000 * 4))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units")
def test_weights_are_not_doubled_in_memory():
    """PyTorch, the net and onnxruntime read the same 330 MB. (PyTorch's older exporter copies all weights
    for a moment, for its inference of shapes.)"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY, "torch.export"],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 0.5


def test_saved_pair_is_read_again_and_computes_the_same(tmp_path):
    module = seeded(Net())
    x = image(1, 3, 16, 16)
    converted = pg.from_torch(module, x)
    paths = converted.save(tmp_path / "net.v2")
    assert [path.name for path in paths] == ["net.v2.prototxt", "net.v2.caffemodel"]
    assert converted.save(paths[0]) == paths
    net = pg.load(*paths, strict=True)
    results = pg.run(net, {"x": x.numpy()})
    with torch.no_grad():
        expected = module.eval()(x)
    for name, tensor in expected.items():
        assert np.abs(results[name] - tensor.numpy()).max() < 1e-5 * tensor.abs().max()


def test_a_net_without_weights_has_no_caffemodel(tmp_path):
    converted = pg.from_torch(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), image(1, 3, 8, 8))
    assert [path.name for path in converted.save(tmp_path / "pool")] == ["pool.prototxt"]
    assert [path.name for path in tmp_path.iterdir()] == ["pool.prototxt"]


def test_repr_is_one_line():
    text = repr(pg.from_torch(seeded(Net()), image(1, 3, 16, 16)))
    assert re.fullmatch(
        r"<TorchNet Net: \d+ layers; \d+ values compared with the module on \d+ inputs?"
        r"(, \d+ of them unproved)?, largest error [\d.e-]+>",
        text,
    )


class Decoder(nn.Module):
    """A backbone, and a head whose result has a length that depends on the data."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.score = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        score = self.score(self.backbone(x))
        return torch.nonzero(score.flatten(1) > 0).float()


def test_the_error_for_a_head_names_where_to_cut():
    with pytest.raises(UnsupportedError) as error:
        pg.from_torch(seeded(Decoder()), image(1, 3, 8, 8))
    assert 'outputs=["' in str(error.value)
    assert "--to-blob" not in str(error.value)


@pytest.mark.parametrize("name", ["score", "backbone", "backbone.0"])
def test_outputs_name_parts_of_the_module(name):
    converted = pg.from_torch(seeded(Decoder()), image(1, 3, 8, 8), outputs=[name])
    assert converted.checked.proved
    assert converted.outputs == converted.modules[name]
    assert set(converted.net.outputs) == set(converted.outputs)
    assert not any(layer.name == "score" for layer in converted.net.layers) or name == "score"


def test_an_unknown_part_gets_a_suggestion():
    with pytest.raises(InputError, match=r'outputs "scor".*no such part.*score'):
        pg.from_torch(seeded(Decoder()), image(1, 3, 8, 8), outputs=["scor"])


class Branches(nn.Module):
    def forward(self, x):
        if x.sum() > 0:  # depends on the input
            return x + 1
        return x - 1


class Counts(nn.Module):
    def forward(self, x):
        for _ in range(int(x.max().item())):
            x = x * 2
        return x


class Divides(nn.Module):
    def forward(self, x):
        return x / float(x.abs().max())


class Filled(nn.Module):
    def forward(self, x):
        y = torch.zeros(4)
        y[1:3] = x[0, 0, 0, :2]  # through a view of a constant
        return x + 1 if y.sum() > 0 else x


class Loops(nn.Module):
    def forward(self, x):
        while x.abs().max() > 1:
            x = x / 2
        return x


@pytest.mark.parametrize(
    ("module", "code"),
    [
        (Branches, "if x.sum() > 0:"),
        (Counts, "for _ in range(int(x.max().item())):"),
        (Divides, "return x / float(x.abs().max())"),
        (Filled, "return x + 1 if y.sum() > 0 else x"),
        (Loops, "while x.abs().max() > 1:"),
    ],
)
def test_control_flow_on_data_is_refused_with_its_line(module, code):
    with pytest.raises(UnsupportedError) as error:
        pg.from_torch(module(), image(1, 3, 8, 8))
    text = str(error.value)
    assert re.match(r".*test_from_torch\.py:\d+: ", text)
    assert code in text
    assert "control flow that depends on data" in text


class ShapeBranch(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x):
        if x.shape[2] > 4 and self.weight.sum() > 1 and torch.zeros_like(x).sum() == 0:
            return x * self.weight
        return x


def test_control_flow_on_shapes_and_weights_is_followed():
    converted = pg.from_torch(ShapeBranch(), image(1, 3, 8, 8))
    assert converted.checked.proved
    # torch.export refuses a branch on a weight; the older exporter follows it.
    assert converted.exporter == "torch.jit.trace"
    assert converted.notes
    assert converted.notes[0].startswith("torch.export was tried before")


class Escapes(nn.Module):
    def forward(self, x):
        return x + float(np.abs(x.detach().numpy()).max())


class Lists(nn.Module):
    def forward(self, x):
        return x + max(x.flatten().tolist())


@pytest.mark.parametrize("module", [Escapes, Lists])
def test_reading_a_tensor_outside_of_pytorch_is_refused(module):
    with pytest.raises((UnsupportedError, MismatchError)):
        pg.from_torch(module(), image(1, 3, 8, 8))


class Random(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)


def test_random_modules_are_refused():
    with pytest.raises(UnsupportedError, match="different values for the same inputs"):
        pg.from_torch(Random(), image(1, 3, 8, 8))


class Arguments(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, a, b, *, scale=1.0, mask=None):
        y = self.fc(a) * scale + b
        return (y, a * b) if mask is None else (y * mask, a * b)


def test_arguments_keep_their_order_and_names():
    a, b, mask = image(2, 4), image(2, 4, seed=1), image(2, 4, seed=2)
    inputs = {"mask": mask, "b": b, "a": a, "scale": 3.0}
    converted = pg.from_torch(seeded(Arguments()), inputs)
    assert converted.inputs == ("a", "b", "mask")
    assert converted.checked.proved
    assert len(converted.outputs) == 2
    names = pg.from_torch(
        seeded(Arguments()), (a, b), input_names=["p", "q"], output_names=["y", "z"]
    )
    assert names.inputs == ("p", "q")
    assert names.outputs == ("y", "z")
    assert set(names.net.outputs) == {"y", "z"}


def test_numpy_arrays_are_examples():
    converted = pg.from_torch(seeded(nn.Linear(4, 3)), np.ones((2, 4), np.float32))
    assert converted.checked.proved
    assert converted.net.shapes["input"] == (2, 4)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True, bidirectional=True)
        self.head = nn.Linear(32, 20)
        self.out = nn.Linear(20, 16, bias=False)
        self.out.weight = nn.Parameter(self.table.weight.T)

    def forward(self, tokens):
        return self.out(torch.tanh(self.head(self.lstm(self.table(tokens))[0])))


def test_integers_recurrence_and_shared_weights():
    converted = pg.from_torch(seeded(Tokens()), torch.arange(6).reshape(1, 6) % 20)
    assert converted.checked.proved
    assert converted.checked.worst < 1e-5


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        return self.shuffle(self.norm(self.conv(self.conv(x))))


def test_a_module_that_is_called_twice_and_computed_weights():
    converted = pg.from_torch(seeded(Twice()), image(1, 4, 6, 6))
    names = [layer.name for layer in converted.net.layers if layer.type == "Convolution"]
    assert names[:2] == ["conv", "conv_2"]
    assert converted.checked.proved


def test_memory_formats_and_strides_do_not_matter():
    module = seeded(Net()).to(memory_format=torch.channels_last)
    module.fc.weight = nn.Parameter(module.fc.weight.detach().T.contiguous().T)
    x = image(1, 16, 16, 3).permute(0, 3, 1, 2)
    assert pg.from_torch(module, x).checked.worst < 2e-6


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch itself
def test_wrappers_are_removed(wrap):
    converted = pg.from_torch(wrap(seeded(Net())), image(1, 3, 16, 16))
    assert converted.name == "Net"
    assert converted.inputs == ("x",)


def test_a_target_decides_the_layers(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Hardswish(), nn.Conv2d(4, 4, 1))
    converted = pg.from_torch(seeded(module), image(1, 3, 8, 8), target="mnn")
    assert converted.legalized is not None
    assert "for mnn;" in repr(converted)
    prototxt, caffemodel = converted.save(tmp_path / "net")
    assert pg.check_target(prototxt, "mnn", caffemodel).usable


@pytest.mark.parametrize(
    ("module", "inputs", "options", "problem"),
    [
        (nn.Linear, image(1, 4), {}, r"got the class Linear.*not its class"),
        (len, image(1, 4), {}, "expected a torch.nn.Module"),
        (nn.ReLU(), "x", {}, "example_inputs: expected a tensor"),
        (nn.ReLU(), (), {}, "example_inputs: do not fit ReLU.forward"),
        (nn.ReLU(), (image(1), image(1)), {}, "do not fit ReLU.forward"),
        (nn.ReLU(), (3.0,), {}, "have no tensor"),
        (nn.ReLU(), torch.zeros(0, 3), {}, 'input "input": has no values'),
        (nn.ReLU(), image(1, 4), {"input_names": ["a", "b"]}, "input_names: expected 1"),
        (nn.ReLU(), image(1, 4), {"output_names": ["a", "b"]}, "output_names: expected 1"),
        (nn.ReLU(), image(1, 4), {"exporter": "onnx"}, "unknown exporter"),
        (nn.ReLU(), image(1, 4), {"target": "mnn", "dialect": "ssd"}, "a target decides"),
        (nn.ReLU(), image(1, 4), {"target": "mmn"}, "mnn"),
    ],
)
def test_mistakes_get_one_sentence(module, inputs, options, problem):
    with pytest.raises(InputError, match=problem):
        pg.from_torch(module, inputs, **options)


@pytest.mark.parametrize(
    ("module", "problem"),
    [
        (lambda: nn.Linear(4, 4, device="meta"), 'parameter "weight": has no values yet'),
        (lambda: nn.LazyLinear(4), 'parameter "weight": has no values yet'),
        (lambda: nn.Linear(4, 4).half(), r"dtype float16.*module.float\(\)"),
        (lambda: nn.Linear(4, 4).bfloat16(), "dtype bfloat16"),
        (lambda: torch.jit.script(nn.Linear(4, 4)), "TorchScript"),
    ],
)
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:Lazy modules:UserWarning"
)
def test_modules_that_cannot_be_converted(module, problem):
    with pytest.raises(UnsupportedError, match=problem):
        pg.from_torch(module(), image(1, 4))


def test_a_wrong_net_is_found_and_the_module_is_named(monkeypatch):
    from protogen.pytorch import steps

    plain = steps.Task.imported

    def changed(self, source, form):
        net = plain(self, source, form)
        blobs = net.net.weights["layer1.1.conv2"]
        net.net.weights["layer1.1.conv2"] = [blobs[0] * 1.01, *blobs[1:]]
        return net

    monkeypatch.setattr(steps.Task, "imported", changed)
    with pytest.raises(MismatchError) as error:
        pg.from_torch(seeded(Net()), image(1, 3, 16, 16))
    assert re.search(r'after module "layer1\.1\.(relu|conv2)"', str(error.value))


def test_dead_nets_are_not_called_proved():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.fill_(-1)
    with pytest.raises(MismatchError, match="nothing is proved"):
        pg.from_torch(module, image(1, 3, 8, 8))


def test_an_approximation_is_told_once():
    module = nn.Sequential(*(nn.GELU() for _ in range(3)), nn.Linear(4, 4))
    with pytest.warns(ProtogenWarning, match=r"and 2 more: erf is approximated"):
        converted = pg.from_torch(seeded(module), image(2, 4))
    assert len(converted.notes) == 1


def test_steps_are_told():
    steps = []
    pg.from_torch(seeded(nn.Linear(4, 4)), image(1, 4), progress=steps.append)
    assert steps == [
        "run the module",
        "export with torch.export",
        "import the model",
        "compare the net with the module",
    ]


def test_weights_of_a_saved_file_equal_the_parameters(tmp_path):
    module = seeded(nn.Linear(32, 16))
    converted = pg.from_torch(module, image(1, 32))
    with (tmp_path / "w.caffemodel").open("wb") as file:
        write_weights(file, converted.net.name, converted.net.entries(converted.net.schema))
    prototxt, _ = converted.save(tmp_path / "net")
    net = pg.load(prototxt, tmp_path / "w.caffemodel")
    (weights,) = net.weights.values()
    assert np.array_equal(weights[0], module.weight.detach().numpy())
