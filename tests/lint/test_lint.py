"""Rules: the examples on their pages, ignore comments, selection, fixes, files and audits."""

from __future__ import annotations

import pytest
from places import EXAMPLES, ROOT

import protogen as pg
from protogen.lint.context import Settings
from protogen.lint.engine import check_file, check_text, selected
from protogen.lint.rules import all_rules

RULES = all_rules()
WITH_TEXT = [code for code, rule in RULES.items() if rule.example]


def codes_of_rule(text: str, code: str, **options) -> list[str]:
    """Return the codes of the findings of one rule, with the settings that its example needs."""
    rule = RULES[code]
    checked = check_text(text, "net.prototxt", [rule], Settings(**rule.settings), **options)
    return [finding.code for finding in checked.diagnostics]


def test_rules_have_different_names():
    assert len({rule.name for rule in RULES.values()}) == len(RULES)


@pytest.mark.parametrize("code", WITH_TEXT)
def test_rule_reports_its_example(code):
    assert set(codes_of_rule(RULES[code].example, code)) == {code}


@pytest.mark.parametrize("code", WITH_TEXT)
def test_rule_does_not_report_its_fixed_example(code):
    assert codes_of_rule(RULES[code].fixed, code) == []


@pytest.mark.parametrize("code", [code for code in WITH_TEXT if RULES[code].fixes])
def test_fix_turns_the_example_into_the_fixed_example(code):
    rule = RULES[code]
    checked = check_text(
        rule.example, "net.prototxt", [rule], Settings(**rule.settings), unsafe_fixes=True
    )
    assert checked.diagnostics == []
    assert checked.text == rule.fixed
    assert checked.count_fixed >= 1


@pytest.mark.parametrize("code", [code for code in WITH_TEXT if not RULES[code].fixes])
def test_rule_without_fix_does_not_change_the_example(code):
    rule = RULES[code]
    checked = check_text(
        rule.example, "net.prototxt", [rule], Settings(**rule.settings), unsafe_fixes=True
    )
    assert checked.text == rule.example


def test_description_and_reason_of_rules_are_sentences():
    texts = {code: (rule.what, rule.why) for code, rule in RULES.items()}
    assert [code for code, both in texts.items() if not all(t.endswith(".") for t in both)] == []


# Ignoring rules: comments, options, and the configuration of a project

UP = RULES["PG302"].example


def codes(text: str, select=("PG3",), **options) -> list[str]:
    """Return the codes of the findings of the selected rules."""
    checked = check_text(text, "net.prototxt", selected(select), **options)
    return [finding.code for finding in checked.diagnostics]


def test_comments_turn_rules_off():
    assert codes(UP) == ["PG302"]
    assert codes(UP.replace("layer {\n", "layer {  # protogen: ignore[PG302]\n")) == []
    assert codes(UP.replace("layer {\n", "layer {  # protogen: ignore\n")) == []
    assert codes(UP.replace("layer {\n", "layer {  # protogen: ignore[PG301]\n")) == ["PG302"]
    assert codes("# protogen: ignore-file[mixed-channels]\n" + UP) == []
    assert codes("# protogen: ignore-file\n" + UP) == []
    assert codes("# protogen: ignore[PG302]\n" + UP) == ["PG302"]  # Only its own line.


def test_rules_are_selected_by_code_family_and_name():
    default = {rule.code for rule in selected()}
    assert "PG301" in default
    assert "PG321" not in default
    assert "PG601" not in default
    assert {rule.code for rule in selected(["PG2", "mixed-channels"], ["PG203"])} == {
        *(code for code in RULES if code.startswith("PG2") and code != "PG203"), "PG302",
    }  # fmt: skip
    assert len(selected(["ALL"])) == len(RULES)
    assert all(rule.untrusted for rule in selected(untrusted=True))
    with pytest.raises(pg.InputError, match='"PG9": unknown rule'):
        selected(["PG9"])


def test_syntax_error_is_reported_at_its_place():
    checked = check_text('layer {\n  name: "a"\n  type: }', "net.prototxt")
    assert [(one.code, one.place.line, one.place.column) for one in checked.diagnostics] == [
        ("PG100", 3, 9)
    ]


def test_old_format_is_checked_and_not_fixed():
    text = 'layers { name: "i" type: INNER_PRODUCT bottom: "data" top: "i" inner_product_param { num_output: 2 } }'
    checked = check_text(text, "net.prototxt", unsafe_fixes=True)
    assert "PG102" in {finding.code for finding in checked.diagnostics}
    assert checked.text == text


def test_fixes_preserve_comments_and_order():
    text = (
        '# head\nlayer {\n  name: "c"  # name\n  type: "Convolutoin"\n  top: "c"\n  bottom: "data"\n'
        "  # why\n  convolution_param { num_output: 2 kernel_size: 1 dilation: 2 }\n}\n"
    )
    checked = check_text(text, "net.prototxt", selected(["PG1", "PG328"]), unsafe_fixes=True)
    assert checked.text == text.replace("Convolutoin", "Convolution").replace(" dilation: 2", "")
    assert checked.count_fixed == 2


def test_check_command_reads_the_configuration_of_the_project(protogen, tmp_path):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "a.prototxt").write_text(UP)
    (tmp_path / "nets" / "solver.prototxt").write_text('net: "a.prototxt"\nbase_lr: 0.1\n')
    done = protogen("check", "nets")
    assert done.returncode == 1
    assert "2 files: 1 finding, 1 fixable with --unsafe-fixes [-]" in done.stdout
    (tmp_path / "protogen.toml").write_text('[check]\nignore = ["PG302"]\n')
    assert protogen("check", "nets").stdout == "2 files: no findings\n"
    (tmp_path / "protogen.toml").unlink()
    (tmp_path / "pyproject.toml").write_text('[tool.protogen.check]\nselect = ["PG2"]\n')
    assert protogen("check", "nets").returncode == 0
    (tmp_path / "pyproject.toml").write_text('[tool.protogen.check]\nselct = ["PG2"]\n')
    done = protogen("check", "nets")
    assert done.returncode == 2
    assert "selct: unknown option. Did you mean select?" in done.stderr
    (tmp_path / "pyproject.toml").unlink()
    done = protogen("check", "nets", "--unsafe-fixes")
    assert done.returncode == 0
    assert done.stdout == "2 files: 1 fixed, no findings\n"
    assert "group: 8" in (tmp_path / "nets" / "a.prototxt").read_text()


def test_findings_in_each_output_format(protogen, tmp_path):
    import json

    (tmp_path / "a.prototxt").write_text(UP)
    (finding,) = json.loads(protogen("check", "a.prototxt", "--json").stdout)["findings"]
    assert (finding["code"], finding["line"], finding["layer"]) == ("PG302", 2, "up")
    assert finding["fixable"] is True
    text = protogen("check", "a.prototxt", "--format", "github").stdout
    assert text.startswith(
        "::warning file=a.prototxt,line=2,col=1,title=PG302 mixed-channels::layer"
    )
    log = json.loads(protogen("check", "a.prototxt", "--format", "sarif").stdout)
    assert log["version"] == "2.1.0"
    run = log["runs"][0]
    assert run["results"][0]["ruleId"] == "PG302"
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == {*RULES, "PG100"}


def test_target_and_dialect_options(protogen, tmp_path):
    (tmp_path / "a.prototxt").write_text(RULES["PG401"].example)
    done = protogen("check", "a.prototxt", "--target", "horizon-x3", "--select", "PG401")
    assert done.returncode == 0  # Kernel 9 is within the limits.
    done = protogen("check", "a.prototxt", "--target", "sigmastar", "--select", "PG401")
    assert "kernel_h * kernel_w < 64" in done.stdout
    assert protogen("check", "a.prototxt", "--target", "nowhere").returncode == 2
    assert protogen("check", "a.prototxt", "--dialect", "nowhere").returncode == 2


def test_rule_command_lists_and_explains_rules(protogen):
    assert "mixed-channels [-]" in protogen("rule").stdout
    assert protogen("rule", "PG302").stdout == protogen("rule", "mixed-channels").stdout
    done = protogen("rule", "PG30")
    assert done.returncode == 2
    assert "unknown rule" in done.stderr


def test_pages_of_all_rules_match_docs(golden):
    from protogen.lint.formats import page
    from protogen.lint.rule import FAMILIES

    parts = [
        "# Rules\n",
        "This page is generated from the rules. Each example and its fixed form is tested.\n",
    ]
    for family, title in FAMILIES.items():
        parts.append(f"# {family}: {title}\n")
        parts += [page(code) for code in RULES if code.startswith(family)]
    golden("../../docs/rules.md", "\n".join(parts))


# Audits of nets with weights


def untrusted_codes(tmp_path, change) -> set[str]:
    """Return the codes of the findings in examples/tiny with changed layers and blobs."""
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

    checked = check_file("examples/tiny.prototxt", selected(untrusted=True), caffemodel=path)
    return {finding.code for finding in checked.diagnostics}


def test_untrusted_weights_that_do_not_match_are_reported(tmp_path, monkeypatch):
    from dataclasses import replace

    import numpy as np

    monkeypatch.chdir(ROOT)
    assert untrusted_codes(tmp_path, lambda e: e) == set()
    assert untrusted_codes(tmp_path, lambda e: [*e, e[0]]) == {"PG605"}
    assert untrusted_codes(tmp_path, lambda e: [(e[0][0], e[0][1][:1]), *e[1:]]) == {"PG606"}
    assert untrusted_codes(tmp_path, lambda e: e[1:]) == {"PG607"}
    assert untrusted_codes(tmp_path, lambda e: [*e, (replace(e[0][0], name="other"), e[0][1])]) == {
        "PG607"
    }
    assert untrusted_codes(tmp_path, lambda e: [(layer, []) for layer, _ in e]) == {"PG607"}
    assert untrusted_codes(
        tmp_path, lambda e: [(e[0][0], [e[0][1][0] * np.float32(np.nan), *e[0][1][1:]]), *e[1:]]
    ) == {"PG608"}


def test_untrusted_option_selects_its_rules(protogen, tmp_path):
    (tmp_path / "a.prototxt").write_text(RULES["PG601"].example)
    done = protogen("check", "--untrusted", "a.prototxt")
    assert done.returncode == 1
    assert "PG601" in done.stdout


@pytest.mark.parametrize("code", [c for c, r in RULES.items() if r.untrusted and r.example])
@pytest.mark.parametrize(
    "hide",
    [
        lambda text: "# protogen: ignore-file\n" + text,
        lambda text: "# protogen: ignore-file[PG6]\n" + text,
        lambda text: text.replace("\n", " # protogen: ignore\n") + " # protogen: ignore",
        lambda text: "max_iter: 1\n" + text.replace("layer {", "layer: {"),
        lambda text: "max_iter: 1\n" + text.replace("layer {", "layer # a\n {"),
    ],
    ids=["file", "family", "lines", "solver", "solver with a comment"],
)
def test_untrusted_net_cannot_turn_its_rules_off(code, hide, protogen, tmp_path):
    """Comments, project settings and the fields of a solver have no effect."""
    (tmp_path / "a.prototxt").write_text(hide(RULES[code].example))
    (tmp_path / "protogen.toml").write_text('[check]\nignore = ["PG6"]\n')
    checked = check_file(
        tmp_path / "a.prototxt", selected(untrusted=True), Settings(), trusted=False
    )
    assert code in {finding.code for finding in checked.diagnostics}


def test_untrusted_weights_belong_to_the_net_before_them(protogen, tmp_path):
    net, weights = EXAMPLES / "tiny.prototxt", EXAMPLES / "tiny.caffemodel"
    assert protogen("check", "--untrusted", net, weights).stdout == "1 file: no findings\n"
    other = protogen("check", "--untrusted", EXAMPLES / "small_fcn.prototxt", weights)
    assert "PG607" in other.stdout
    for arguments in (
        ["check", "--untrusted", weights],
        ["check", weights],
        ["check", net, weights, weights],
    ):
        wrong = protogen(*arguments)
        assert (wrong.returncode, wrong.stderr) == (
            2,
            f"protogen: {weights}: weights must come after their prototxt. Write protogen check "
            f"NET.prototxt {weights}.\n",
        )
    assert protogen("check", net, weights).stdout == "1 file: no findings\n"


def test_net_with_a_field_of_a_solver_is_checked_as_a_net(protogen, tmp_path):
    (tmp_path / "a.prototxt").write_text(
        'max_iter: 1\nlayer: { name: "a" type: "ReLU" bottom: "x" top: "y" }'
    )
    assert "PG201" in protogen("check", "a.prototxt").stdout


# Offsets of Crop, computed from the coordinates of the net


def test_published_crop_offsets_of_fcn8s_are_correct(fcn8s):
    assert codes_of_rule(fcn8s, "PG310") == []


@pytest.mark.parametrize("offset", [5, 9, 31])
def test_incorrect_crop_offset_is_fixed(fcn8s, offset):
    text = fcn8s.replace(f"offset: {offset}", f"offset: {offset - 3}")
    checked = check_text(text, "net.prototxt", [RULES["PG310"]], Settings(), unsafe_fixes=True)
    assert checked.count_fixed >= 1
    assert checked.text == fcn8s
