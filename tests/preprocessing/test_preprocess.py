"""Preprocessing as layers and as weights, against arithmetic on the data; statistics of images."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import net_with
from PIL import Image

import protogen as pg
from protogen.formats import prototxt
from protogen.net.net import Net
from protogen.preprocessing import meanfiles
from protogen.preprocessing.statistics import gather
from protogen.preprocessing.transforms import Transform, transform_of

GENERATOR = np.random.default_rng(0)
TOLERANCE = 1e-5  # of the largest value: float32, where the data reaches 255


def net_of(first: str, shape: str = "2 3 9 8", rest: str = "") -> Net:
    net = net_with({"data": tuple(map(int, shape.split()))}, f"{first}\n{rest}")
    return pg.initialise(net, rules={layer.name: "msra" for layer in net.layers if layer.reads and
                                     layer.type in ("Convolution", "InnerProduct")})  # fmt: skip


CONV = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 6 kernel_size: 3 %s } }'
DENSE = 'layer { name: "i" type: "InnerProduct" bottom: "data" top: "i" inner_product_param { num_output: 5 %s } }'


def transforms():
    return st.builds(
        Transform,
        st.sampled_from([None, "numbers", "one", "picture", "larger"]).map(
            lambda kind: {
                None: None, "numbers": np.array([104.0, 117, 123]), "one": np.array([127.5]),
                "picture": GENERATOR.uniform(0, 255, (3, 9, 8)),
                "larger": GENERATOR.uniform(0, 255, (3, 12, 11)),
            }[kind]
        ),
        st.sampled_from([None, "scale", "std", "mixed"]).map(
            lambda kind: {
                None: None, "scale": np.array([[0.017]]), "std": np.diag([0.1, 0.2, 0.3]),
                "mixed": GENERATOR.standard_normal((3, 3)) / 50,
            }[kind]
        ),
        st.booleans(),
    )  # fmt: skip


def check(net: Net, result: pg.Preprocessed, transform: Transform) -> None:
    """Compare the new net on raw data with the original net on transformed data."""
    data = GENERATOR.integers(0, 256, net.shapes["data"]).astype(np.float32)
    expected = pg.run(net, {"data": transform.apply(data)})
    actual = pg.run(result.net, {"data": data})
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        limit = TOLERANCE * max(np.abs(values).max(), 1)
        np.testing.assert_allclose(actual[name], values, rtol=0, atol=limit)


@settings(max_examples=60)
@given(transforms(), st.sampled_from([CONV % "pad: 1", CONV % "group: 3", DENSE % ""]))
def test_new_layers_are_exact(transform, first):
    net = net_of(first)
    result = pg.preprocess(net, transform)
    check(net, result, transform)
    assert all(one.type in ("Power", "Scale", "Bias", "Convolution", "InnerProduct", "Input")
               for one in result.net.layers)  # fmt: skip
    result.net.check_weights()


@settings(max_examples=60)
@given(transforms(), st.sampled_from(
    [CONV % "", CONV % "bias_term: false", CONV % "stride: 2", DENSE % "", DENSE % "transpose: true",
     DENSE % "bias_term: false"]))  # fmt: skip
def test_folded_is_exact_without_padding(transform, first):
    net = net_of(first)
    has_mean_image = transform.mean is not None and transform.mean.ndim == 3
    if has_mean_image and "Convolution" in first:
        with pytest.raises(pg.UnsupportedError, match="a mean image cannot be folded into it"):
            pg.preprocess(net, transform, fold=True)
        return
    result = pg.preprocess(net, transform, fold=True)
    check(net, result, transform)
    assert not result.border
    assert len(result.net.layers) == len(net.layers)


@settings(max_examples=20)
@given(transforms())
def test_fold_into_groups(transform):
    net = net_of(CONV % "group: 3")
    mixes_channels = transform.swap or (transform.matrix is not None and np.any(
        transform.matrix_for(3) - np.diag(np.diag(transform.matrix_for(3)))))  # fmt: skip
    has_mean_image = transform.mean is not None and transform.mean.ndim == 3
    if mixes_channels or has_mean_image:
        with pytest.raises(pg.UnsupportedError, match="cannot be"):
            pg.preprocess(net, transform, fold=True)
    else:
        check(net, pg.preprocess(net, transform, fold=True), transform)


def test_error_at_border_is_measured():
    net = net_of(CONV % "pad: 1")
    transform = Transform(np.array([104.0, 117, 123]))
    result = pg.preprocess(net, transform, fold=True, verify=True)
    (border,) = result.border
    assert (border.layer, border.ring) == ("c", 1)
    assert border.error > 0.1 * border.largest
    assert result.error > 0.01
    data = GENERATOR.integers(0, 256, net.shapes["data"]).astype(np.float32)
    expected = pg.run(net, {"data": transform.apply(data)})["c"]
    actual = pg.run(result.net, {"data": data})["c"]
    inner_error = np.abs(actual - expected)[:, :, 1:-1, 1:-1].max()
    assert inner_error < TOLERANCE * np.abs(expected).max()
    # without a mean, padding means black before and after folding
    assert not pg.preprocess(net, Transform(None, np.array([[0.1]])), fold=True).border


def test_verify_compares_first_values_after_transform(monkeypatch):
    """A saturated Softmax hides every error, so the values of the new layers are compared too."""
    saturated = DENSE % "" + 'layer { name: "p" type: "Softmax" bottom: "i" top: "p" }'
    net = net_of(saturated)
    net.weights["i"] = [np.zeros_like(net.weights["i"][0]), np.float32([0, 0, 0, 0, 1000])]
    transform = Transform(np.array([104.0, 117, 123]))
    pg.preprocess(net, transform, verify=True)
    monkeypatch.setattr(Transform, "apply", lambda self, data: 2 * data)
    with pytest.raises(
        pg.MismatchError, match=r"differs by .* from the original net on preprocessed data"
    ):
        pg.preprocess(net, transform, verify=True)
    with pytest.raises(
        pg.MismatchError, match="cannot be verified: its value does not depend on the data"
    ):
        pg.preprocess(net, transform, fold=True, verify=True)


def test_cheapest_layer_is_inserted():
    def types(transform: Transform) -> list[str]:
        result = pg.preprocess(net_of(DENSE % ""), transform)
        return [layer.type for layer in result.net.layers if layer.name in result.layers]

    mean, std = np.array([104.0, 117, 123]), np.diag([0.1, 0.2, 0.3])
    assert types(Transform(np.array([127.0]), np.array([[0.01]]))) == ["Power"]
    assert types(Transform(mean)) == ["Bias"]
    assert types(Transform(mean, std)) == ["Scale"]
    assert types(Transform(mean, std, True)) == ["Convolution"]
    assert types(Transform(np.zeros((3, 9, 8)), std)) == ["Bias", "Scale"]
    assert types(Transform(np.zeros((3, 9, 8)), None, True)) == ["Convolution", "Bias"]


def test_readers_and_in_place_layers_use_new_blob():
    rest = 'layer { name: "a" type: "AbsVal" bottom: "data" top: "a" }\n' + CONV % ""
    net = net_of('layer { name: "r" type: "ReLU" bottom: "data" top: "data" }', rest=rest)
    transform = Transform(np.array([127.0]))
    check(net, pg.preprocess(net, transform), transform)


def test_whitening_decorrelates_channels():
    stats = gather(GENERATOR.multivariate_normal([100, 110, 120], [[900, 800, 700], [800, 950, 750],
                   [700, 750, 800]], (5, 40, 30)).transpose(0, 3, 1, 2))  # fmt: skip
    for kind in ("pca", "zca"):
        matrix = pg.whitening(stats.covariance, kind)
        np.testing.assert_allclose(matrix @ stats.covariance @ matrix.T, np.eye(3), atol=1e-9)
    zca = pg.whitening(stats.covariance, "zca")
    np.testing.assert_allclose(zca, zca.T, atol=1e-12)
    rotation = pg.whitening(stats.covariance, "rotate")
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    rotated_covariance = rotation @ stats.covariance @ rotation.T
    np.testing.assert_allclose(
        rotated_covariance - np.diag(np.diag(rotated_covariance)), 0, atol=1e-9
    )
    assert (np.diff(np.diag(rotated_covariance)) < 0).all()
    with pytest.raises(pg.InputError, match="channels are linearly dependent"):
        pg.whitening(np.ones((3, 3)), "zca")
    with pytest.raises(pg.InputError, match="expected zca, pca or rotate, got 'zac'"):
        pg.whitening(np.eye(3), "zac")


def test_statistics_equal_numpy():
    pictures = GENERATOR.uniform(0, 255, (7, 3, 6, 5))
    statistics = gather(pictures)
    np.testing.assert_allclose(statistics.mean, pictures.mean(axis=0))
    np.testing.assert_allclose(statistics.channel_mean, pictures.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(statistics.channel_std, pictures.std(axis=(0, 2, 3)))
    flat = pictures.transpose(1, 0, 2, 3).reshape(3, -1)
    np.testing.assert_allclose(statistics.covariance, np.cov(flat, bias=True), rtol=1e-9)


def test_transform_is_read_from_transform_param(tmp_path):
    text = 'layer { name: "d" type: "Data" top: "data" transform_param { %s } }'

    def read(param: str) -> Transform | None:
        return transform_of(prototxt.parse(text % param, "t"), tmp_path)

    assert read("mirror: true crop_size: 227") is None
    np.save(tmp_path / "mean.npy", np.full((3, 4, 4), 5.0))
    both = read('mean_file: "mean.npy" scale: 0.5')
    assert both.mean.shape == (3, 4, 4)
    data = GENERATOR.uniform(0, 255, (1, 3, 2, 2))
    np.testing.assert_allclose(both.apply(data), (data - 5) / 2, rtol=1e-6)
    numbers = read("mean_value: 1 mean_value: 2 mean_value: 3")
    np.testing.assert_allclose(
        numbers.apply(data), data - np.array([1, 2, 3]).reshape(1, 3, 1, 1), rtol=1e-5
    )


# the commands


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    arrays = GENERATOR.integers(0, 256, (4, 9, 8, 3), dtype=np.uint8)
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(folder / f"{i}.png")
    return arrays[:, :, :, ::-1].transpose(0, 3, 1, 2).astype(np.float64)  # blue, green, red


def test_mean_command_writes_files(protogen, tmp_path, pictures):
    completed = protogen(
        "mean", "compute", "pictures", "-o", "m.binaryproto", "-o", "m.npy", "-o", "m.png"
    )
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.startswith("4 images of 3x9x8\nmean ")
    np.testing.assert_allclose(np.load(tmp_path / "m.npy"), pictures.mean(axis=0), rtol=1e-6)
    from protogen.preprocessing import meanfiles

    np.testing.assert_allclose(
        meanfiles.read(tmp_path / "m.binaryproto"), pictures.mean(axis=0), rtol=1e-6
    )
    assert np.abs(meanfiles.read(tmp_path / "m.png") - pictures.mean(axis=0)).max() <= 0.5
    report = json.loads(protogen("mean", "compute", "pictures", "--json").stdout)
    np.testing.assert_allclose(report["mean"], pictures.mean(axis=(0, 2, 3)))
    grey = json.loads(
        protogen("mean", "compute", "pictures", "--grey", "--size", "5", "--json").stdout
    )
    assert grey["shape"] == [1, 5, 5]


NET = CONV.replace("num_output: 6", 'num_output: 2 weight_filler { type: "msra" }')


@pytest.fixture
def files(tmp_path):
    net = net_of(CONV % "pad: 1", "1 3 9 8")
    net.save(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    (tmp_path / "train.prototxt").write_text(
        'layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN } '
        "transform_param { mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5 } "
        'data_param { source: "x" } }\n' + CONV % "pad: 1"
    )
    return net


def test_preprocess_command_writes_net(protogen, tmp_path, files, pictures):
    def run(*options):
        completed = protogen("preprocess", "net.prototxt", "net.caffemodel", "-o", "raw.prototxt",
                        "--caffemodel", "raw.caffemodel", *options)  # fmt: skip
        assert completed.returncode == 0, completed.stderr
        return completed.stdout, pg.load(tmp_path / "raw.prototxt", tmp_path / "raw.caffemodel")

    data = GENERATOR.integers(0, 256, (1, 3, 9, 8)).astype(np.float32)
    output, raw = run("--from", "train.prototxt", "--verify")
    assert "new layers: data_preprocessed" in output
    transform = Transform(np.array([104.0, 117, 123]), np.array([[0.5]]))
    expected = pg.run(files, {"data": transform.apply(data)})["c"]
    np.testing.assert_allclose(
        pg.run(raw, {"data": data})["c"], expected, atol=1e-4 * expected.max()
    )
    output, _ = run("--mean", "104,117,123", "--std", "57,57,58", "--fold")
    assert "note: c has padding" in output
    assert "Without --fold the result is exact." in output
    output, raw = run("--whiten", "zca", "--images", "pictures", "--plot", "w.png", "--verify")
    assert (tmp_path / "w.png").read_bytes().startswith(b"\x89PNG")
    assert next(layer.type for layer in raw.layers if layer.reads) == "Convolution"


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--mean", "1,2"], 2, "the mean has 2 channels, but the data has 3"),
        (["--mean", "small.npy"], 2, "the mean image (4x4) is smaller than the data (9x8)"),
        (["--mean", "grey.npy", "--caffemodel", "x.caffemodel"], 2, "the mean has 2 channels"),
        (["--mean", "nan.npy"], 2, "nan.npy: --mean: the mean contains NaN or infinite values."),
        (["--mean", "a,b"], 2, "--mean: 'a,b' is not a list of numbers"),
        (["--std", "0,1,1"], 2, "--std: every number must be above 0"),
        (["--whiten", "zca"], 2, "Give images with --images DIR."),
        (["--from", "net.prototxt"], 2, "no layer has a transform_param"),
        (["--from", "train.prototxt", "--scale", "2"], 2, "--from and --scale exclude each other"),
        ([], 2, "no preprocessing is requested"),
        (["--mean", "1", "--bottom", "dat"], 2, '"dat": unknown input (inputs: data)'),
        (["--mean", "1,2,3"], 3, "missing an output file for the weights of data_preprocessed. Set it: --caffemodel new.caffemodel."),
        (["--mean", "1,2,3", "--fold", "--caffemodel", "net.caffemodel"], 2, "is an input, and --caffemodel would overwrite it"),
    ],
)  # fmt: skip
def test_invalid_options_are_refused(protogen, tmp_path, files, options, code, text):
    np.save(tmp_path / "small.npy", np.zeros((3, 4, 4)))
    np.save(tmp_path / "grey.npy", np.zeros((2, 9, 8)))
    np.save(tmp_path / "nan.npy", np.full((3, 9, 8), np.nan))
    before = set(tmp_path.iterdir())
    completed = protogen(
        "preprocess", "net.prototxt", "net.caffemodel", "-o", "o.prototxt", *options
    )
    assert completed.returncode == code, completed.stderr
    assert text in completed.stderr
    assert set(tmp_path.iterdir()) == before


def test_mean_command_refuses_invalid_images(protogen, tmp_path, pictures):
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(tmp_path / "pictures" / "z.png")
    (tmp_path / "grey").mkdir()
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "grey" / "g.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures" / "bad.txt").write_text("hello")
    for arguments, text in (
        (
            ["pictures"],
            "z.png: expected 9x8, the size of 0.png, got 3x4. Resize all images: --size 256,256.",
        ),
        (["empty"], "empty: contains no images."),
        (
            ["grey"],
            "g.png: is grey, but the input has 3 channels, which would all get the same values.",
        ),
        (["nothere"], "nothere: does not exist."),
        (
            ["pictures/bad.txt"],
            "bad.txt: the file is text, expected a picture.",
        ),
        (["pictures", "--size", "x"], "--size: 'x' is not a size. Write 256x256."),
    ):
        completed = protogen("mean", "compute", *arguments, "-o", "m.binaryproto")
        assert completed.returncode == 2, arguments
        assert text in completed.stderr
        assert not (tmp_path / "m.binaryproto").exists()


def test_mean_with_its_channels_last_is_transposed(tmp_path):
    """OpenCV and Pillow store pictures as height, width, channels."""
    mean = np.random.default_rng(0).random((9, 8, 3)).astype(np.float32)
    np.save(tmp_path / "mean.npy", mean)
    transform = Transform(mean=meanfiles.read(tmp_path / "mean.npy"))
    with pytest.warns(pg.ProtogenWarning, match="its axes were read as height, width, channels"):
        actual = transform.mean_for((3, 9, 8))
    np.testing.assert_array_equal(actual, mean.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "layer",
    [
        "type: 'InnerProduct' inner_product_param { num_output: 6 axis: 2 }",
        "type: 'InnerProduct' inner_product_param { num_output: 6 axis: -1 }",
        "type: 'Convolution' convolution_param { num_output: 6 kernel_size: 1 axis: 2 }",
    ],
)
def test_weights_of_other_axes_than_channels_are_not_folded(tmp_path, layer):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: [1, 3, 4, 4] } } }\n'
        f'layer {{ name: "y" bottom: "x" top: "y" {layer} }}\n'
    )
    net = pg.load(path)
    pg.initialise(net)
    with pytest.raises(pg.UnsupportedError, match="so that its weights do not belong to channels"):
        pg.preprocess(net, Transform(np.zeros(3), None, swap=True), fold=True)
