"""PriorBox of SSD and its forks, against loops as in the forks' sources."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with

import protogen as pg

SETTINGS = settings(max_examples=30, deadline=None, derandomize=True)


def run(fields, shape, image, dialect="", type_="PriorBox"):
    feeds = {"map": np.zeros(shape, np.float32), "image": np.zeros(image, np.float32)}
    built = net_with(
        {name: array.shape for name, array in feeds.items()},
        f'layer {{ name: "l" type: "{type_}" bottom: "map" bottom: "image" top: "y" '
        f"prior_box_param {{ {fields} }} }}",
    )
    net = pg.Net(built.message, dialect=dialect)
    top = pg.run(net, feeds)["y"]
    assert top.shape == net.shapes["y"]
    return top


def text_of(fields):
    """Return fields as prototxt; a list is a repeated field."""
    parts = []
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            parts.append(f"{name}: {str(one).lower() if isinstance(one, bool) else one}")
    return " ".join(parts)


def ratios_of(f, keras=False):
    ratios = [1.0] if f.get("use_default_aspect_ratio", True) else []
    flip = f.get("flip", True)

    def add(ratio):
        if any(abs(ratio - other) < 1e-6 for other in ratios):
            return False
        ratios.append(ratio)
        return True

    for ratio in f.get("aspect_ratio", []):
        if add(ratio) and flip and not keras:
            ratios.append(1 / ratio)
    if keras and flip:
        for ratio in f.get("aspect_ratio", []):
            add(1 / ratio)
    return ratios


def loops(f, shape, image, pixel):
    """The loops of ``Forward_cpu`` over pixels, around those of a fork: ``pixel(put, cx, cy, h,
    step_h, image)``, in which ``put(cx, cy, width, height)`` writes a box."""
    h, w = shape[2:]
    image_h, image_w = image[2:]
    if "img_size" in f:
        image_h = image_w = f["img_size"]
    elif "img_h" in f:
        image_h, image_w = f["img_h"], f["img_w"]
    step_h, step_w = image_h / h, image_w / w
    if "step" in f:
        step_h = step_w = f["step"]
    elif "step_h" in f:
        step_h, step_w = f["step_h"], f["step_w"]
    out = []

    def put(cx, cy, width, height, yx=False, inset=0.0, inside=False):
        box = [(cx - width / 2) / image_w, (cy - height / 2) / image_h,
               (cx + width / 2) / image_w, (cy + height / 2) / image_h]  # fmt: skip
        if inset:
            box = [box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset]
        if inside:
            box = [max(box[0], 0), max(box[1], 0), min(box[2], 1), min(box[3], 1)]
        out.extend([box[1], box[0], box[3], box[2]] if yx else box)

    for y in range(h):
        for x in range(w):
            offset = f.get("offset", 0.5)
            pixel(put, (x + offset) * step_w, (y + offset) * step_h, y, step_h)
    boxes = np.array(out)
    if f.get("clip", False):
        boxes = boxes.clip(0, 1)
    variance = f.get("variance", [0.1])
    variances = np.tile(variance * (4 // len(variance)), len(out) // 4)
    return np.stack([boxes, variances])[None].astype(np.float32)


def ssd(f):
    """weiliu89/caffe (branch ssd), src/caffe/layers/prior_box_layer.cpp; with denser_prior_boxes that of
    MhLiao/TextBoxes_plusplus, with use_default_aspect_ratio that of sophgo/caffe."""

    def pixel(put, cx, cy, y, step_h):
        def both(width, height):
            put(cx, cy, width, height)
            if f.get("denser_prior_boxes"):
                put(cx, (y + 1.0) * step_h, width, height)

        for s, size in enumerate(map(int, f["min_size"])):
            if f.get("use_default_aspect_ratio", True):
                both(size, size)
            if f.get("max_size"):
                mean = math.sqrt(size * int(f["max_size"][s]))
                both(mean, mean)
            for ratio in ratios_of(f):
                if abs(ratio - 1) >= 1e-6:
                    both(size * math.sqrt(ratio), size / math.sqrt(ratio))

    return pixel


def faceboxes(f):
    """zihaozhang9/FaceBoxes, src/caffe/layers/prior_box_layer.cpp."""

    def pixel(put, cx, cy, y, step_h):
        for s, size in enumerate(f["fixed_size"]):
            density = int(f["density"][s])
            shift = int(size / density)
            for ratio in f.get("fixed_ratio") or ratios_of(f):
                if ratio == 1 and "fixed_ratio" not in f:
                    width = height = int(size)
                else:
                    width, height = size * math.sqrt(ratio), size / math.sqrt(ratio)
                for r in range(density):
                    for c in range(density):
                        x = cx - int(size) // 2 + shift / 2.0 + c * shift
                        y = cy - int(size) // 2 + shift / 2.0 + r * shift
                        put(x, y, width, height, inside=True)

    return pixel


def cambricon(f):
    """Cambricon/caffe, src/caffe/layers/prior_box_layer.cpp, with p_type: DENSE."""

    def pixel(put, cx, cy, y, step_h):
        for s, size in enumerate(map(int, f["min_size"])):
            put(cx, cy, size, size)
            if f.get("max_size"):
                most, scales = int(f["max_size"][s]), f.get("inner_scale", 2)
                for scale in range(1, scales):
                    middle = size * ((most * most) // (size * size)) ** (scale / (scales * 2))
                    seen = False
                    for ratio in [1.0, *ratios_of(f)]:
                        if abs(ratio - 1) < 1e-6 and seen:
                            continue
                        seen = True
                        put(cx, cy, middle * math.sqrt(ratio), middle / math.sqrt(ratio))
            for ratio in ratios_of(f):
                if abs(ratio - 1) >= 1e-6:
                    put(cx, cy, size * math.sqrt(ratio), size / math.sqrt(ratio))

    return pixel


def synopsys(f):
    """foss-for-synopsys-dwc-arc-processors/synopsys-caffe, src/caffe/layers/prior_box_layer.cpp."""
    yx, tf, keras = (f.get(name, False) for name in ("yx_order", "tf", "keras"))
    is_face = f.get("faceboxes", False) and not keras

    def pixel(put, cx, cy, y, step_h):
        if "box_width" in f:
            for width, height in zip(f["box_width"], f["box_height"], strict=True):
                put(cx, cy, width, height, yx)
            return
        for s, size in enumerate(map(int, f["min_size"])):
            mean = math.sqrt(size * int(f["max_size"][s])) if f.get("max_size") else 0
            if keras and mean:
                put(cx, cy, mean, mean, yx)
            if is_face:
                count, step = {32: (4, 8), 64: (2, 16)}.get(size, (1, 0))
                for i in range(-(count // 2), count - count // 2):
                    for j in range(-(count // 2), count - count // 2):
                        put(cx + j * step, cy + i * step, size - 1, size - 1)
            else:
                put(cx, cy, size, size, yx, 0.05 if tf and size == 60 and not keras else 0)
            if mean and not tf and not keras:
                put(cx, cy, mean, mean, yx)
            for ratio in ratios_of(f, keras):
                if abs(ratio - 1) >= 1e-6:
                    put(cx, cy, size * math.sqrt(ratio), size / math.sqrt(ratio), yx)
            if mean and tf and not keras:
                put(cx, cy, mean, mean, yx)

    return pixel


def clustered(f):
    """openvinotoolkit/training_toolbox_caffe, caffe/src/caffe/layers/prior_box_clustered_layer.cpp."""

    def pixel(put, cx, cy, y, step_h):
        for width, height in zip(f["width"], f["height"], strict=True):
            put(cx, cy, width, height)

    return pixel


@st.composite
def common(draw):
    """Draw the fields that all forms have."""
    fields = {}
    if draw(st.booleans()):
        fields["clip"] = draw(st.booleans())
    if draw(st.booleans()):
        fields["offset"] = draw(st.sampled_from([0.0, 0.5, 1.0]))
    count = draw(st.sampled_from([0, 1, 4]))
    if count:
        values = st.sampled_from([0.1, 0.2, 0.25])
        fields["variance"] = draw(st.lists(values, min_size=count, max_size=count))
    image = [{}, {"img_size": 70}, {"img_h": 60, "img_w": 80}]
    step = [{}, {"step": 8}, {"step_h": 6.5, "step_w": 9}]
    return fields | draw(st.sampled_from(image)) | draw(st.sampled_from(step))


@st.composite
def sizes(draw, most=2):
    """Draw min_size, max_size, aspect_ratio and flip."""
    least = draw(st.lists(st.sampled_from([4, 10.5, 32, 60]), min_size=1, max_size=most))
    fields = {"min_size": least}
    if draw(st.booleans()):
        fields["max_size"] = [size + draw(st.sampled_from([1, 6.75, 40])) for size in least]
    fields["aspect_ratio"] = draw(st.lists(st.sampled_from([1.0, 2, 0.5, 3, 1.6]), max_size=3))
    if draw(st.booleans()):
        fields["flip"] = draw(st.booleans())
    return fields


SHAPES = st.tuples(st.just((1, 3, 2, 3)), st.just((2, 3, 40, 50))) | st.tuples(
    st.just((2, 1, 3, 1)), st.just((1, 1, 33, 70))
)


def check(fields, shapes, pixel, **options):
    actual = run(text_of(fields), *shapes, **options)
    expected = loops(fields, *shapes, pixel(fields))
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@SETTINGS
@given(common(), sizes(), SHAPES, st.booleans())
def test_ssd_and_textboxes(fields, more, shapes, denser):
    denser_fields = {"denser_prior_boxes": True} if denser else {}
    check({**fields, **more, **denser_fields}, shapes, ssd)


@SETTINGS
@given(common(), sizes(), SHAPES)
def test_no_default_ratio(fields, more, shapes):
    more["aspect_ratio"] = [r for r in more["aspect_ratio"] if r != 1] or [2]
    check({**fields, **more, "use_default_aspect_ratio": False}, shapes, ssd)


@SETTINGS
@given(common(), st.data(), SHAPES)
def test_faceboxes(fields, data, shapes):
    count = data.draw(st.integers(1, 3))
    lists = {"fixed_size": [32, 65, 12.5], "density": [1, 2, 3, 4]}
    for name, values in lists.items():
        fields[name] = data.draw(st.lists(st.sampled_from(values), min_size=count, max_size=count))
    ratios = data.draw(st.sampled_from([{}, {"aspect_ratio": [2, 3]}, {"fixed_ratio": [1.5]}]))
    check({**fields, **ratios}, shapes, faceboxes)


@SETTINGS
@given(common(), sizes(most=1), SHAPES, st.integers(1, 4))
def test_cambricon(fields, more, shapes, scales):
    fields.setdefault("clip", False)
    more |= {"p_type": "DENSE", "inner_scale": scales}
    check({**fields, **more}, shapes, cambricon, dialect="cambricon")


def test_cambricon_clips_by_default():
    shapes = (1, 3, 2, 3), (2, 3, 40, 50)
    actual = run("min_size: 30", *shapes, dialect="cambricon")
    expected = loops({"min_size": [30], "clip": True}, *shapes, ssd({"min_size": [30]}))
    np.testing.assert_allclose(actual, expected, atol=1e-6)
    assert run("min_size: 30", *shapes).min() < 0


@SETTINGS
@given(common(), sizes(), SHAPES, st.data())
def test_synopsys(fields, more, shapes, data):
    for name in ("yx_order", "tf", "keras"):
        if data.draw(st.booleans()):
            fields[name] = data.draw(st.booleans())
    if data.draw(st.integers(0, 3)) == 0:
        more = {"box_width": [5, 7.5, 20], "box_height": [6, 7.25, 9]}
    check({**fields, **more}, shapes, synopsys)


@pytest.mark.parametrize("yx", [False, True])
def test_synopsys_faceboxes(yx):
    """21 boxes of three sizes; a net of one size has one box of it."""
    shapes = (1, 3, 2, 3), (2, 3, 40, 50)
    fields = {"min_size": [32, 64, 128], "faceboxes": True, "yx_order": yx}
    check(fields, shapes, synopsys)
    check(
        {"min_size": [100], "aspect_ratio": [2], "faceboxes": True, "yx_order": yx},
        shapes,
        synopsys,
    )


@SETTINGS
@given(common(), st.data(), SHAPES)
def test_clustered(fields, data, shapes):
    count = data.draw(st.integers(1, 4))
    for name in ("width", "height"):
        values = st.sampled_from([4.5, 9.75, 30, 61])
        fields[name] = data.draw(st.lists(values, min_size=count, max_size=count))
    check(fields, shapes, clustered, type_="PriorBoxClustered")


WRONG = [
    ("", "missing min_size"),
    ("min_size: 0", "each min_size must be above 0"),
    ("min_size: 9 max_size: 9", "max_size must be above min_size 9, got 9"),
    ("min_size: 9 variance: 1 variance: 1", "has 2 variance. Set one, four, or none."),
    ("min_size: 9 variance: 0", "each variance must be above 0"),
    ("min_size: 9 img_h: 3", "img_h and img_w must be above 0"),
    ("min_size: 9 img_h: 3 img_w: 3 img_size: 3", "sets img_size and img_h or img_w"),
    ("min_size: 9 img_size: 0", "img_size must be above 0"),
    ("min_size: 9 step_w: 3", "step_h and step_w must be above 0"),
    ("min_size: 9 step: 1 step_h: 3 step_w: 3", "sets step and step_h or step_w"),
    ("min_size: 9 step: 0", "step must be above 0"),
    ("fixed_size: 9", "has 1 fixed_size, but 0 density"),
    ("fixed_size: 9 density: 1.5", "each density must be a whole number"),
    ("fixed_size: 9 density: 1 fixed_ratio: 1 aspect_ratio: 1", "sets fixed_ratio and aspect_ratio"),
    ("box_width: 9", "has 1 box_width, but 0 box_height"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "said"), WRONG)
def test_invalid(fields, said):
    with pytest.raises(pg.InputError) as error:
        run(fields, (1, 1, 2, 2), (1, 1, 9, 9))
    assert said in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        "min_size: 4 fixed_size: 8 density: 1",
        "fixed_size: 8 density: 2 fixed_ratio: 1 fixed_ratio: 2",
        "min_size: 4 min_size: 5 max_size: 6 max_size: 7 p_type: DENSE",
        "min_size: 32 faceboxes: true",
        "min_size: 4 aspect_ratio: 1 use_default_aspect_ratio: false",
    ],
)
def test_undefined(fields):
    """Caffe writes more or fewer boxes than the top has room for."""
    with pytest.raises(pg.UnsupportedError, match="its fields are undefined together"):
        run(fields, (1, 1, 2, 2), (1, 1, 9, 9))
