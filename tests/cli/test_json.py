"""``--json``: every command prints one object of the documented schema (docs/json.schema.json)."""

from __future__ import annotations

import json
import shutil

import jsonschema
import pytest
from places import EXAMPLES, ROOT

from protogen.cli import COMMANDS

SCHEMA = json.loads((ROOT / "docs" / "json.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
NET = ("examples/tiny.prototxt", "examples/tiny.caffemodel")

# One command line for each form of output.
LINES = [
    "upsample --factor 2 --verify",
    "upsample --factor 2 --into examples/segnet_head.prototxt --after score --rewire",
    "upsample --factor 2 --exact --input-shape 1,1,4,4",
    "resize --factor 1.5 --input-shape 1,3,8,8 --explain",
    "resize --factor 2",
    "dense --weights examples/W.npy --orientation xw --verify",
    "dense --weights examples/W.npy --orientation xw",
    "convert {net} -o tiny.onnx",
    "convert {net} -o tiny.onnx --dynamic-batch --verify --external-data",
    "convert examples/squeeze_excite.onnx -o se.prototxt --caffemodel se.caffemodel --verify",
    "convert examples/squeeze_excite.onnx {net} -o many",
    "convert examples/squeeze_excite.onnx --dry-run",
    "convert {net} --dry-run",
    "convert {net} --dry-run --target examples/toolchains/npu.toml",
    "convert examples/fork_head.prototxt --dry-run",
    "cut {net} --to-blob conv1 -o part.prototxt --caffemodel part.caffemodel",
    "cut {net} --to-blob conv1 -o part.prototxt --caffemodel part.caffemodel --rest rest.prototxt "
    "--rest-caffemodel rest.caffemodel --verify",
    "cut examples/squeeze_excite.onnx --from-blob /se/Mul_output_0 -o part.onnx",
    "rewrite examples/fork_head.prototxt",
    "rescue {net} -o tiny_stock.prototxt",
    "rescue examples/fork_head.prototxt -o fork_stock.prototxt",
    "preprocess {net} --mean 1,2,3 --fold --verify --caffemodel raw.caffemodel",
    "init examples/tiny.prototxt",
    "init examples/tiny.prototxt --fill --fan true",
    "summary examples/tiny.prototxt",
    "summary examples/tiny.prototxt --shapes",
    "summary examples/tiny.prototxt --target examples/toolchains/npu.toml",
    "weights examples/tiny.caffemodel",
    "weights examples/tiny.caffemodel --quick",
    "diff examples/tiny.prototxt examples/small_fcn.prototxt",
    "diff examples/tiny.prototxt examples/tiny.prototxt",
    "check examples/flawed.prototxt",
    "check examples/tiny.prototxt",
    "check --untrusted {net}",
    "check examples/weighted_sum.prototxt --target examples/toolchains/npu.toml",
    "check --opencv5 examples/opencv_app",
    "rule",
    "rule PG301",
    "verify {net} {net}",
    "try {net} --with examples/acme/acme.toml",
    "try --how mnn",
    "run {net} --random",
    "run {net} --random --blob conv1",
    "run {net} --random --half-check",
    "health examples/tiny.prototxt --no-gradients",
    "health examples/tiny.prototxt --no-gradients --compare-init xavier,msra",
    "train-log examples/deep_sigmoid.log",
    "train-log examples/deep_sigmoid.log examples/deep_sigmoid.prototxt",
    "layers",
    "layers Pooling",
    "targets",
    "targets horizon-x3",
    "targets --words",
    "dialects",
    "dialects examples/ssd_head.prototxt examples/tiny.prototxt",
    "activations ReLU TanH --no-time",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("json")
    shutil.copytree(EXAMPLES, path / "examples")
    return path


@pytest.mark.parametrize("line", LINES)
def test_output_has_the_documented_schema(line, folder, monkeypatch):
    from click.testing import CliRunner

    from protogen.cli import cli

    monkeypatch.chdir(folder)
    words = line.format(net=" ".join(NET)).split()
    result = CliRunner().invoke(cli, [*words, "--json"])
    assert result.exit_code in (0, 1), result
    VALIDATOR.validate(json.loads(result.stdout))


def test_output_of_mean_compute_has_the_documented_schema(protogen, tmp_path):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "pictures").mkdir()
    image.new("RGB", (4, 4), (10, 20, 30)).save(tmp_path / "pictures" / "a.png")
    VALIDATOR.validate(json.loads(protogen("mean", "compute", "pictures", "--json").stdout))


def test_every_command_of_the_schema_is_tested():
    forms = [form["properties"]["command"]["const"] for form in SCHEMA["anyOf"]]
    words = [line.split()[0] for line in LINES] + ["mean compute"]
    assert set(forms) == set(words)
    assert {form.split()[0] for form in forms} <= set(COMMANDS)


def test_schema_rejects_unknown_keys_missing_keys_and_wrong_versions():
    valid = {"command": "diff", "schema": 1, "differences": []}
    VALIDATOR.validate(valid)
    for invalid in (valid | {"more": 1}, {"command": "diff", "schema": 1}, valid | {"schema": 2}):
        assert not VALIDATOR.is_valid(invalid)


def table_of_keys(form) -> str:
    """Return a Markdown table of the keys of an object of the schema."""
    lines = ["| key | value |", "|---|---|"]
    for key, value in form["properties"].items():
        if key in ("command", "schema"):
            continue
        text = value.get("description", "")
        item = value.get("items", value.get("additionalProperties", {}))
        name = item.get("$ref", "").rpartition("/")[2] if isinstance(item, dict) else ""
        kind = f"list of [{name}](#{name.lower()})" if name else ""
        if name and value["type"] == "object":
            kind = f"[{name}](#{name.lower()}) by name"
        optional = "" if key in form["required"] else " (optional)"
        lines.append(f"| `{key}`{optional} | {text}{f'; {kind}' if kind else ''} |")
    return "\n".join(lines)


def page() -> str:
    """Return the text of docs/json.md."""
    parts = [
        "# JSON",
        "With `--json` a command prints one JSON object. Every object has the keys `command`, the name of\n"
        "the command, and `schema`, the version of this description, which is 1. Keys are only added\n"
        "while the version stays the same. [json.schema.json](json.schema.json) is the same description\n"
        "as JSON Schema; the tests validate the output of every command with it. Notes, warnings and\n"
        "errors are printed on stderr, and the exit codes are those without `--json`.",
        "## Commands",
    ]
    for form in SCHEMA["anyOf"]:
        name = form["properties"]["command"]["const"]
        parts += [f"### protogen {name}", form["description"], table_of_keys(form)]
    parts.append("## Parts")
    for name, part in SCHEMA["$defs"].items():
        if part.get("type") == "object":
            parts += [f"### {name}", part["description"]]
            parts += [table_of_keys(part)] if "properties" in part else []
    return "\n\n".join(parts) + "\n"


def test_json_page_is_up_to_date(request):
    path = ROOT / "docs" / "json.md"
    if request.config.getoption("--update-golden"):
        path.write_text(page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page()
