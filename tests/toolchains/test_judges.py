"""The probes and faults of ../shared/judges in the toolchains that are installed.

Each of these nets has the right numbers. A toolchain must compute those of tests/golden/judges.json rightly,
and no others: a change there is a change of the adapter, of protogen, or of the toolchain. And
``check --target`` must foretell its results.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from places import GOLDEN, SHARED

import protogen as pg
from protogen.running import environments
from protogen.running.matching import compare
from protogen.running.toolchain import Worker

JUDGES = Path(os.environ.get("JUDGES") or Path.home() / ".cache" / "judges")
PROBES, FAULTS = SHARED / "judges" / "probes", SHARED / "judges" / "faults"
# Names of the environments there, by the names of protogen. The first four are installed in CI.
ENVIRONMENTS = {
    "caffe-1.0": "caffe", "mnn": "mnn", "mindspore-lite": "mslite", "opencv4": "opencv",
    "tpu-caffe": "tpucaffe", "nncase": "nncase", "openvino": "openvino", "rknn2": "rknn",
    "tpu-mlir": "tpumlir",
}  # fmt: skip
HEAVY = ("openvino", "nncase", "rknn2", "tpu-mlir")  # minutes in all; not run in CI
# Nets whose result depends on the speed of the machine, or on memory that the toolchain has not set.
UNSTEADY = {
    "rknn2": ("reshape__two_reshapes_between_convs",),
    "mindspore-lite": ("mslite_depthwise_1x1_pad",),
}


def python_of(name: str) -> Path:
    """Return the Python of a toolchain; skip if it is not installed."""
    if not PROBES.is_dir():
        pytest.skip("../shared/judges is missing")
    if name in HEAVY and os.environ.get("CI"):
        pytest.skip(f"{name} is not run in CI: it takes a minute")
    environment = JUDGES / ENVIRONMENTS[name]
    if not (environment / "READY").is_file():
        pytest.skip(f"no {name}: ../shared/judges/setup {ENVIRONMENTS[name]} installs it")
    return environment / "bin" / "python"


def nets() -> Iterator[tuple[str, Path, Path, Path, Path]]:
    """Yield the name, the prototxt, the caffemodel, the inputs and the right outputs of each net."""
    for path in sorted(PROBES.glob("*.prototxt")):
        files = (
            path.with_suffix(end) for end in (".prototxt", ".caffemodel", ".in.npz", ".ref.npz")
        )
        yield path.stem, *files
    for folder in sorted(FAULTS.iterdir()):
        files = (folder / name for name in ("n.prototxt", "n.caffemodel", "in.npz", "ref.npz"))
        yield folder.name, *files


def results(name: str, python: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each net, its result, and what ``check --target`` foretells."""
    one = environments.toolchain(name)
    with Worker(environments.adapter(one), python) as worker:
        for net_name, net, caffemodel, inputs_file, right in nets():
            if net_name in UNSTEADY.get(name, ()):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pg.ProtogenWarning)
                graph = pg.load(net, tolerant=True).graph
                foretold = pg.check_target(net, one, caffemodel).verdict
            with np.load(inputs_file) as archive:
                inputs = dict(archive)
            with np.load(right) as archive:
                expected = dict(archive)
            answer = worker.run(net, caffemodel, inputs, seconds=30)
            outcome = answer.state
            if outcome == "ran":
                rows = compare(expected, answer.outputs, graph, one.tolerance)
                outcome = "wrong" if any(row.problem for row in rows) else "right"
            yield net_name, outcome, foretold


MEANING = {"right": "usable", "taken": "usable", "ignored": "usable", "wrong": "wrong",
           "refused": "refused", "crashed": "refused", "hung": "refused"}  # fmt: skip
LEAST = 0.96  # of the nets in one toolchain; of all cells, 98.8 % are foretold


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_result_of_every_net_is_known_and_foretold(name, request):
    path = GOLDEN / "judges.json"
    rows = list(results(name, python_of(name)))
    actual = {net: outcome for net, outcome, _ in rows}
    golden = json.loads(path.read_text()) if path.exists() else {}
    if request.config.getoption("--update-golden"):
        golden[name] = {
            outcome: sorted(net for net, one in actual.items() if one == outcome)
            for outcome in sorted(set(actual.values()))
        }
        path.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n")
    expected = {net: outcome for outcome, ps in golden[name].items() for net in ps}
    # What is not right may be wrong in one run, and crash in the next.
    changed = {net for net in actual if (actual[net] == "right") != (expected[net] == "right")}
    assert not changed
    missed = [row for row in rows if MEANING.get(row[2]) != MEANING[row[1]]]
    assert len(missed) <= (1 - LEAST) * len(rows), missed


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_net_of_the_examples(name, tmp_path):
    """The whole of ``try``: each verdict has an error, or a layer and words."""
    from places import EXAMPLES

    files = EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel"
    [trial] = pg.try_net(*files, [name], pythons={name: python_of(name)})
    outcome, layer = {
        "mindspore-lite": ("wrong", "pool1"),
        "nncase": ("refused", "relu1"),
        "openvino": ("wrong", "pool1"),
        "tpu-caffe": ("wrong", "pool1"),
        "tpu-mlir": ("wrong", "pool1"),
    }.get(name, ("right", ""))
    assert (trial.outcome, trial.layer) == (outcome, layer), trial
    assert trial.words or trial.error is not None
