"""Rules: each one's page is its test; comments, selection, mending, files."""

from __future__ import annotations

import pytest
from places import ROOT

import protogen as pg
from protogen.lint.context import Settings
from protogen.lint.engine import check_text, selected
from protogen.lint.rules import all_rules

RULES = all_rules()
WITH_TEXT = [code for code, rule in RULES.items() if rule.example]


def codes(text: str, code: str, **options) -> list[str]:
    rule = RULES[code]
    found = check_text(text, "net.prototxt", [rule], Settings(**rule.settings), **options)
    return [one.code for one in found.diagnostics]


def test_there_are_forty():
    assert len(RULES) >= 45
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


@pytest.mark.parametrize("code", WITH_TEXT)
def test_the_example_fires(code):
    assert set(codes(RULES[code].example, code)) == {code}


@pytest.mark.parametrize("code", WITH_TEXT)
def test_the_mended_one_is_quiet(code):
    assert codes(RULES[code].fixed, code) == []


@pytest.mark.parametrize("code", [code for code in WITH_TEXT if RULES[code].fixes])
def test_fix(code):
    rule = RULES[code]
    made = check_text(
        rule.example, "net.prototxt", [rule], Settings(**rule.settings), unsafe_fixes=True
    )
    assert made.diagnostics == []
    assert made.text == rule.fixed
    assert made.count_fixed >= 1


@pytest.mark.parametrize("code", [code for code in WITH_TEXT if not RULES[code].fixes])
def test_what_a_person_must_mend_is_left(code):
    rule = RULES[code]
    made = check_text(
        rule.example, "net.prototxt", [rule], Settings(**rule.settings), unsafe_fixes=True
    )
    assert made.text == rule.example


@pytest.mark.parametrize("code", RULES)
def test_pages(code):
    rule = RULES[code]
    assert rule.what.endswith(".")
    assert rule.why.endswith(".")


# what comments, options and projects leave out

UP = RULES["PG302"].example


def found(text: str, select=("PG3",), **options) -> list[str]:
    return [
        one.code
        for one in check_text(text, "net.prototxt", selected(select), **options).diagnostics
    ]


def test_comments():
    assert found(UP) == ["PG302"]
    assert found(UP.replace("layer {\n", "layer {  # protogen: ignore[PG302]\n")) == []
    assert found(UP.replace("layer {\n", "layer {  # protogen: ignore\n")) == []
    assert found(UP.replace("layer {\n", "layer {  # protogen: ignore[PG301]\n")) == ["PG302"]
    assert found("# protogen: ignore-file[mixed-channels]\n" + UP) == []
    assert found("# protogen: ignore-file\n" + UP) == []
    assert found("# protogen: ignore[PG302]\n" + UP) == ["PG302"]  # its own line only


def test_selection():
    usual = {rule.code for rule in selected()}
    assert "PG301" in usual
    assert "PG321" not in usual
    assert "PG601" not in usual
    assert {rule.code for rule in selected(["PG2", "mixed-channels"], ["PG203"])} == {
        *(code for code in RULES if code.startswith("PG2") and code != "PG203"), "PG302",
    }  # fmt: skip
    assert len(selected(["ALL"])) == len(RULES)
    assert all(rule.audit for rule in selected(audit=True))
    with pytest.raises(pg.InputError, match='"PG9": fits no rule'):
        selected(["PG9"])


def test_a_text_that_is_none():
    made = check_text('layer {\n  name: "a"\n  type: }', "net.prototxt")
    assert [(one.code, one.place.line, one.place.column) for one in made.diagnostics] == [
        ("PG100", 3, 9)
    ]


def test_the_old_form_is_read_and_never_mended():
    text = 'layers { name: "i" type: INNER_PRODUCT bottom: "data" top: "i" inner_product_param { num_output: 2 } }'
    made = check_text(text, "net.prototxt", unsafe_fixes=True)
    assert "PG102" in {one.code for one in made.diagnostics}
    assert made.text == text


def test_mending_keeps_comments_and_order():
    text = (
        '# head\nlayer {\n  name: "c"  # mine\n  type: "Convolutoin"\n  top: "c"\n  bottom: "data"\n'
        "  # why\n  convolution_param { num_output: 2 kernel_size: 1 dilation: 2 }\n}\n"
    )
    made = check_text(text, "net.prototxt", selected(["PG1", "PG328"]), unsafe_fixes=True)
    assert made.text == text.replace("Convolutoin", "Convolution").replace(" dilation: 2", "")
    assert made.count_fixed == 2


def test_files_of_a_project(protogen, tmp_path):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "a.prototxt").write_text(UP)
    (tmp_path / "nets" / "solver.prototxt").write_text('net: "a.prototxt"\nbase_lr: 0.1\n')
    done = protogen("check", "nets")
    assert done.returncode == 1
    assert "2 files: 1 finding, 1 fixable with --unsafe-fixes [-]" in done.stdout
    (tmp_path / "protogen.toml").write_text('[check]\nignore = ["PG302"]\n')
    assert protogen("check", "nets").stdout == "2 files: nothing found\n"
    (tmp_path / "protogen.toml").unlink()
    (tmp_path / "pyproject.toml").write_text('[tool.protogen.check]\nselect = ["PG2"]\n')
    assert protogen("check", "nets").returncode == 0
    (tmp_path / "pyproject.toml").write_text('[tool.protogen.check]\nselct = ["PG2"]\n')
    done = protogen("check", "nets")
    assert done.returncode == 2
    assert "selct: is not known. Did you mean select?" in done.stderr
    (tmp_path / "pyproject.toml").unlink()
    done = protogen("check", "nets", "--unsafe-fixes")
    assert done.returncode == 0
    assert done.stdout == "2 files: 1 fixed, nothing found\n"
    assert "group: 8" in (tmp_path / "nets" / "a.prototxt").read_text()


def test_formats(protogen, tmp_path):
    import json

    (tmp_path / "a.prototxt").write_text(UP)
    (one,) = json.loads(protogen("check", "a.prototxt", "--format", "json").stdout)
    assert (one["code"], one["line"], one["layer"], one["fixable"]) == ("PG302", 2, "up", True)
    text = protogen("check", "a.prototxt", "--format", "github").stdout
    assert text.startswith(
        "::warning file=a.prototxt,line=2,col=1,title=PG302 mixed-channels::layer"
    )
    log = json.loads(protogen("check", "a.prototxt", "--format", "sarif").stdout)
    assert log["version"] == "2.1.0"
    run = log["runs"][0]
    assert run["results"][0]["ruleId"] == "PG302"
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {*RULES, "PG100"}


def test_targets_and_dialects(protogen, tmp_path):
    (tmp_path / "a.prototxt").write_text(RULES["PG401"].example)
    done = protogen("check", "a.prototxt", "--target", "horizon-x3", "--select", "PG401")
    assert done.returncode == 0  # kernel 9 is within
    done = protogen("check", "a.prototxt", "--target", "sigmastar", "--select", "PG401")
    assert "kernel_h * kernel_w < 64" in done.stdout
    assert protogen("check", "a.prototxt", "--target", "nowhere").returncode == 2
    assert protogen("check", "a.prototxt", "--dialect", "nowhere").returncode == 2


def test_rule_command(protogen):
    assert "mixed-channels [-]" in protogen("rule").stdout
    assert protogen("rule", "PG302").stdout == protogen("rule", "mixed-channels").stdout
    done = protogen("rule", "PG30")
    assert done.returncode == 2
    assert "there is no such rule" in done.stderr


def test_pages_of_all_rules(golden):
    from protogen.lint.formats import page
    from protogen.lint.rule import FAMILIES

    parts = [
        "# Rules\n",
        "Made from the rules themselves: each example and its mended form is tested.\n",
    ]
    for family, title in FAMILIES.items():
        parts.append(f"# {family}: {title}\n")
        parts += [page(code) for code in RULES if code.startswith(family)]
    golden("../../docs/rules.md", "\n".join(parts))


# audit: nets with weights


def audited(tmp_path, change) -> set[str]:
    import numpy as np

    from protogen.formats.caffemodel import write_weights
    from protogen.net.net import entry

    net = pg.load("examples/tiny.prototxt", "examples/tiny.caffemodel")
    entries = [(layer, [np.array(b) for b in net.weights[layer.name]]) for layer in net.layers
               if layer.name in net.weights]  # fmt: skip
    entries = change(entries)
    path = tmp_path / "w.caffemodel"
    with path.open("wb") as file:
        write_weights(file, "tiny", [entry(layer, blobs) for layer, blobs in entries])
    from protogen.lint.engine import check_file

    made = check_file("examples/tiny.prototxt", selected(audit=True), caffemodel=path)
    return {one.code for one in made.diagnostics}


def test_audit_of_weights(tmp_path, monkeypatch):
    from dataclasses import replace

    import numpy as np

    monkeypatch.chdir(ROOT)
    assert audited(tmp_path, lambda e: e) == set()
    assert audited(tmp_path, lambda e: [*e, e[0]]) == {"PG605"}
    assert audited(tmp_path, lambda e: [(e[0][0], e[0][1][:1]), *e[1:]]) == {"PG606"}
    assert audited(tmp_path, lambda e: e[1:]) == {"PG607"}
    assert audited(tmp_path, lambda e: [*e, (replace(e[0][0], name="other"), e[0][1])]) == {"PG607"}
    assert audited(tmp_path, lambda e: [(layer, []) for layer, _ in e]) == {"PG607"}
    assert audited(
        tmp_path, lambda e: [(e[0][0], [e[0][1][0] * np.float32(np.nan), *e[0][1][1:]]), *e[1:]]
    ) == {"PG608"}


def test_audit_command(protogen, tmp_path):
    (tmp_path / "a.prototxt").write_text(RULES["PG601"].example)
    done = protogen("audit", "a.prototxt")
    assert done.returncode == 1
    assert "PG601" in done.stdout


# offsets of Crop from the net's own coordinates


def test_the_published_offsets_of_fcn8s_are_right(fcn8s):
    assert codes(fcn8s, "PG310") == []


@pytest.mark.parametrize("right", [5, 9, 31])
def test_another_offset_is_mended(fcn8s, right):
    wrong = fcn8s.replace(f"offset: {right}", f"offset: {right - 3}")
    made = check_text(wrong, "net.prototxt", [RULES["PG310"]], Settings(), unsafe_fixes=True)
    assert made.count_fixed >= 1
    assert made.text == fcn8s
