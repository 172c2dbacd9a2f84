"""The emitted text compared with reviewed golden files."""

from __future__ import annotations

import pytest
from places import EXAMPLES

import protogen as pg

NET = EXAMPLES / "segnet_head.prototxt"
SPEC = EXAMPLES / "head.toml"


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("factor", range(1, 17))
def test_text_of_each_factor_is_unchanged(golden, factor, mode):
    golden(f"upsample/{mode}_{factor}.prototxt", pg.upsample(factor, mode=mode).prototxt)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("anisotropic", {"factor": "2x4"}),
        ("anisotropic_nearest", {"factor": (3, 1), "mode": "nearest"}),
        ("trainable", {"factor": 2, "trainable": True}),
        ("full", {"factor": 8, "channels": 21, "trainable": True, "weights": "full"}),
        ("full_frozen", {"factor": 2, "weights": "full"}),
        ("whole_net", {"factor": 2, "input_shape": "1,64,14,14"}),
        ("named", {"factor": 2, "name": "up5", "bottom": "conv5", "channels": 512}),
        ("hostile_name", {"factor": 2, "name": 'x"\n}\tlayer {\\ \x00 \u00e9 \u2028'}),
    ],
)
def test_text_of_each_option_is_unchanged(golden, name, options):
    golden(f"upsample/{name}.prototxt", pg.upsample(**options).prototxt)


def test_text_of_a_spec_file_is_unchanged(golden):
    golden("upsample/spec.prototxt", pg.load_spec(SPEC).prototxt)


@pytest.mark.parametrize("rewire", [False, True])
def test_text_of_a_net_with_an_inserted_layer_is_unchanged(golden, rewire):
    spliced = pg.splice(NET, "score", rewire=rewire, factor=2, name="up_score")
    golden(f"upsample/spliced{'_rewired' if rewire else ''}.prototxt", spliced.text)
