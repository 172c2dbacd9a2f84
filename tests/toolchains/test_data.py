"""The reader of toolchains' data files: what it accepts, and its messages."""

import contextlib
import shutil
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import protogen as pg
from protogen.toolchains.limits import load_target
from protogen.toolchains.toolchain import FOLDER, load_toolchain, names, parse_toolchain

NAMES = (
    "caffe-1.0", "bvlc", "ssd", "opencv4", "mnn", "mindspore-lite", "dpico", "ascend", "tpu-mlir",
    "rknn1", "rknn2", "ncnn", "nncase", "openvino", "nnie", "sigmastar", "horizon-x3", "horizon-x5",
    "vitis", "snpe", "compass", "tidl",
)  # fmt: skip


def parsed(text):
    return parse_toolchain(tomllib.loads(text), "acme.toml")


@pytest.mark.parametrize("name", NAMES)
def test_toolchain_has_a_data_file_with_sources(name):
    toolchain = load_toolchain(name)
    assert toolchain.title
    assert toolchain.types
    for statement in (*toolchain.net, *toolchain.rules):
        assert statement.source in toolchain.sources, statement
        assert statement.text or statement.must or statement.without, statement


def test_every_statement_of_every_file_has_a_source():
    for name in names():
        toolchain = load_toolchain(name)
        assert all(one.source for one in (*toolchain.net, *toolchain.rules)), name


@pytest.mark.parametrize("name", names())
def test_conditions_of_the_file_are_valid(name, tmp_path):
    """They are tried only in the files of users."""
    shutil.copy(FOLDER / f"{name}.toml", tmp_path)
    copied = load_toolchain(tmp_path / f"{name}.toml")
    assert copied.rules == load_toolchain(name).rules
    assert load_target(tmp_path / f"{name}.toml").rules == load_target(name).rules


def test_ascend_limits_height_times_stride():
    texts = [rule.must for rule in load_toolchain("ascend").rules if "Deconvolution" in rule.layers]
    assert any("height * stride_h" in text for text in texts)


def test_limits_of_the_planner_are_the_must_rules():
    limits = load_target(FOLDER / "horizon-x3.toml")
    musts = [rule.must for rule in load_toolchain("horizon-x3").rules if rule.must]
    assert [rule.must for rule in limits.rules] == musts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("titel = 'x'", "acme.toml: unknown key 'titel'. Did you mean title?"),
        ("title = 3", "acme.toml: key 'title' must be a string."),
        ("notes = [1]", "acme.toml: key 'notes' must be a list of strings."),
        ("types_complete = 1", "acme.toml: key 'types_complete' must be true or false."),
        ("tolerance = true", "acme.toml: key 'tolerance' must be a number."),
        ("rule = 3", "acme.toml: key 'rule' must be a list of tables."),
        ("[schema]\nlack = []", "acme.toml: unknown key 'schema.lack'. Did you mean lacks?"),
        ("[schema]\nunknown = 'drop'", "acme.toml: unknown value 'drop' of schema.unknown, expected refused, kept."),
        ("[schema.fields]\na = 'x'", "acme.toml: key 'schema.fields.a' must be a number."),
        ("[types]\nrun = ['ReLU']", "acme.toml: unknown source 'run'. Add it to [sources]."),
        ("[[rule]]\nlayer = ['ReLU']", "acme.toml: unknown key 'rule 1.layer'. Did you mean layers?"),
        ("[[rule]]\nlayers = ['ReLU']", "acme.toml: rule 1 must set either must, without, or is."),
        ("[[rule]]\nis = 'bad'", "acme.toml: unknown value 'bad' of rule 1.is, expected refused, wrong, ignored, unknown, taken."),
        ("[[rule]]\nis = 'wrong'\nmust = 'kernel < 3'", "acme.toml: rule 1 must set either"),
        ("[[rule]]\nis = 'wrong'\nwhen = 'kernle < 3'", "acme.toml: rule 1: the condition 'kernle < 3' cannot be evaluated"),
        ("[[rule]]\nlayers = ['Eltwise']\nis = 'wrong'\nwhen = 'param.coef'", "acme.toml: rule 1: the condition 'param.coef' cannot be evaluated"),
        ("[[rule]]\nis = 'wrong'\nwhen = 'kernel <'", "acme.toml: rule 1: invalid condition 'kernel <'"),
        ("[[rule]]\nis = 'wrong'\nwhen = 'f(kernel)'", "acme.toml: rule 1: invalid condition 'f(kernel)': Call is not allowed."),
        ("[[rule]]\nis = 'wrong'\nwhen = '[1] * 99999999999'", "acme.toml: rule 1: invalid condition"),
        ("[[rule]]\nlayers = ['Eltwise']\nis = 'wrong'\nwhen = 'param.operation * 99999999999'", "acme.toml: rule 1: the condition"),
        ("[[net]]\nis = 'wrong'\nwhen = 'kernel < 3'", "acme.toml: net 1: the condition 'kernel < 3' cannot be evaluated"),
    ],
)  # fmt: skip
def test_invalid_file(text, message):
    with pytest.raises(pg.InputError) as error:
        parsed(text)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 'x'\n\nnotse = []", "3: unknown key 'notse'. Did you mean notes?"),
        ("[sources]\nrun = 'x'\n[types]\nrun = 'ReLU'", "4: key 'types.run' must be a list of strings."),
        ("[[rule]]\nis = 'wrong'\n[[rule]]\nis = 'wrong'\nlayer = []", "5: unknown key 'rule 2.layer'. Did you mean layers?"),
        ("[[rule]]\nis = 'wrong'\n\n[[rule]]\nlayers = []", "4: rule 2 must set either must, without, or is."),
        ("[[rule]]\nmust = 'kernel < 3'\nwhen = 'rank == 4'", "1: rule 1 sets both must and when. Write"),
        ("[[net]]\nmust = 'kernel < 3'", "2: unknown key 'net 1.must'. Known keys: when, is, field, text, source."),
        ("[schema]\nunknown = 'drop'", "2: unknown value 'drop' of schema.unknown"),
    ],
)  # fmt: skip
def test_message_has_the_line(tmp_path, text, message):
    (tmp_path / "acme.toml").write_text(text)
    with pytest.raises(pg.InputError) as error:
        load_toolchain(tmp_path / "acme.toml")
    assert str(error.value).startswith(f"{tmp_path}/acme.toml:{message}")


def test_unknown_target_has_a_suggestion():
    with pytest.raises(pg.InputError, match=r"Did you mean ascend\?"):
        load_toolchain("acend")


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["title", "rule", "net", "types", "schema", "is", "when", "must", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ).filter(lambda value: isinstance(value, dict))
)
def test_any_table_is_read_or_refused_with_a_message(data):
    with contextlib.suppress(pg.InputError):
        assert parse_toolchain(data, "acme.toml").name == "acme"
