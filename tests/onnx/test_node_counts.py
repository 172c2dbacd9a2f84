"""Exports of published nets leave nothing for another optimiser: no operator that can be merged or removed.

``tests/golden/nodes.txt`` has the number of operators of each net, so that a change shows.
benchmarks/rows/nodes.py compares them with what onnxslim and onnxsim find.
"""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from places import CORPUS, SHARED

import protogen as pg
from protogen.errors import UnsupportedError
from protogen.onnx import lower, to_model
from protogen.onnx.exporter.verdicts import use_blank_weights
from protogen.onnx.importer import import_model

NETS = sorted(path.name for path in (SHARED / "golden" / "nets").glob("*.json.gz"))
SSD = CORPUS / "chuanqi305__MobileNet-SSD" / "deploy.prototxt"

pytestmark = [
    pytest.mark.skipif(not NETS, reason="no ../shared beside this checkout: it holds the nets"),
    pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning"),
]


def exported(path, **options):
    net = pg.load(path)
    use_blank_weights(net)
    return net, lower(net, **options)


def path_of(name):
    owner, repository, rest = name.removesuffix(".json.gz").split("__", 2)
    return CORPUS / f"{owner}__{repository}" / rest


def left(program):
    """Yield a line for each operator that an optimiser could merge or remove."""
    readers = program.readers()
    producers = {write: node for node in program.nodes for write in node.writes}
    only_concats = {
        write: all(reader.op_type == "Concat" for reader in program.nodes if write in reader.reads)
        for write, node in producers.items()
        if node.op_type == "Concat"
    }
    seen = Counter()
    for node in program.nodes:
        line = f"{node.op_type} {node.writes[0]}"
        outputs = program.interface.intersection(node.writes)
        if node.reads and all(read in program.tensors for read in node.reads) and not outputs:
            yield f"{line}: reads only constants"
        if not outputs and not any(readers[write] for write in node.writes):
            yield f"{line}: is not read"
        if node.op_type == "Identity" and not outputs:
            yield f"{line}: is a copy"
        before = producers.get(node.reads[0]) if node.reads else None
        if before is not None and readers[node.reads[0]] == 1 and not _is_output(program, before):
            kinds = (before.op_type, node.op_type)
            if kinds[0] == kinds[1] and kinds[0] in ("Reshape", "Transpose", "Cast", "ReduceMean"):
                yield f"{line}: reads another"
            if kinds == ("BatchNormalization", "BatchNormalization") or (
                kinds[0] == "Conv" and kinds[1] == "BatchNormalization"
            ):
                yield f"{line}: belongs into the weights"
        if node.op_type == "Concat":
            inner = [
                r
                for r in node.reads
                if only_concats.get(r) and not _is_output(program, producers[r])
            ]
            if any(producers[r].attributes["axis"] == node.attributes["axis"] for r in inner):
                yield f"{line}: reads another Concat"
        seen[node.op_type, node.reads, str(sorted(node.attributes.items()))] += 1
    yield from (f"{op} of {reads}: {n} times" for (op, reads, _), n in seen.items() if n > 1)


def _is_output(program, node):
    return not program.interface.isdisjoint(node.writes)


def test_nothing_is_left_to_merge_or_remove(golden):
    counts = []
    for name in NETS:
        program = exported(path_of(name))[1]
        assert not list(left(program)), name
        counts.append(f"{len(program.nodes):4} {name.removesuffix('.prototxt.json.gz')}\n")
    golden("nodes.txt", "".join(counts))


def test_the_check_finds_what_is_left_without_folding():
    problems = list(left(exported(SSD, fold=False)[1]))
    assert any("reads only constants" in line for line in problems)
    assert any("is a copy" in line for line in problems)


def test_every_output_has_its_name_and_other_blobs_theirs():
    net, program = exported(SSD)
    assert [value.name for value in program.outputs] == list(net.outputs)
    values = {write for node in program.nodes for write in node.writes}
    assert {"conv17_2_mbox_loc", "mbox_loc", "mbox_conf", "mbox_conf_softmax"} <= values


def test_folded_priors_come_back():
    net, program = exported(SSD)
    assert not any("priorbox" in name for name in program.tensors)
    again = import_model(to_model(program), dialect="ssd").net
    detection = again.layers[-1]
    assert detection.type == "DetectionOutput"
    folded = pg.run(net, blobs=["mbox_priorbox"], feeds=_random(net))["mbox_priorbox"]
    np.testing.assert_array_equal(again.weights[detection.bottoms[2]][0], folded)


@pytest.mark.parametrize(("change", "type_"), [
    (lambda text: text, "DetectionOutput"),
    (lambda text: text[:-8], ""),  # too few numbers
    (lambda text: "*" + text[1:], ""),  # not base64
    (lambda text: 7, ""),
])  # fmt: skip
def test_an_entry_with_wrong_constants_restores_no_layer(change, type_):
    model = to_model(exported(SSD)[1])
    (entry,) = (one for one in model.metadata_props if one.key.startswith("caffe_layer:"))
    values = json.loads(entry.value)
    values["constants"] = {name: change(text) for name, text in values["constants"].items()}
    entry.value = json.dumps(values)
    try:
        types = {layer.type for layer in import_model(model, dialect="ssd").net.layers}
    except UnsupportedError:
        types = set()
    assert ("DetectionOutput" in types) == bool(type_)


def _random(net):
    return {name: np.zeros(net.shapes[name], np.float32) for name in net.inputs}
