"""Losses and Accuracy, and bottoms without a gradient."""

from __future__ import annotations

from checks.rows import Row, layer, one, source

FIVE = "2x4x1x1x1"


def labelled(type_: str, block: str, file: str, line: int, axis: str = "axis") -> list[Row]:
    """Checks that losses over classes and Accuracy share."""
    name = type_.lower()
    more = ("1x1x4x4",) if type_ == "InfogainLoss" else ()

    def net(text: str, *shapes: str) -> str:
        return one(type_, f"{block} {{ {text} }}", *shapes, *more)

    return [
        Row(f"{name}.axis", type_, f"{axis} is an axis of the scores.", "blob.hpp:122",
            (net("axis: 2", "2x4", "2"), net("axis: -3", "2x4", "2")),
            (net("axis: 1", "2x4", "2"), net("axis: -1", "2x4", "2"))),
        Row(f"{name}.labels", type_, "There is one label for each position of the scores.", f"{file}:{line}",
            (net("", "2x4", "2x4"), net("", "2x4x3", "2"), net("", "2x4x3x3", "2x3")),
            (net("", "2x4x3", "2x3"), net("", "2x4", "2x1x1"))),
    ]  # fmt: skip


def samples(type_: str) -> Row:
    """Check of LossLayer::Reshape."""
    pair = type_ in ("EuclideanLoss", "SigmoidCrossEntropyLoss")
    bad, good, rest = ("1x8", "2x4", ()) if pair else ("1x2", "2", ())
    if type_ == "ContrastiveLoss":
        bad, good, rest = "3x4", "2x4", ("2",)
    elif type_ == "InfogainLoss":
        rest = ("1x1x4x4",)
    return Row(f"{type_.lower()}.samples", type_, "The first two bottoms have the same number of samples.",
               "loss_layer.cpp:19", (one(type_, "", "2x4", bad, *rest),), (one(type_, "", "2x4", good, *rest),))  # fmt: skip


def contrastive(*shapes: str) -> str:
    return one("ContrastiveLoss", "", *shapes)


def c(name: str, demands: str, line: int, bad: tuple[str, ...]) -> Row:
    return Row(f"contrastiveloss.{name}", "ContrastiveLoss", demands, f"contrastive_loss_layer.cpp:{line}",
               bad, (contrastive("2x4", "2x4x1x1", "2x1"),))  # fmt: skip


def infogain(*shapes: str, text: str = "") -> str:
    return one("InfogainLoss", text, *shapes)


def multinomial(label: str) -> str:
    return one("MultinomialLogisticLoss", "", "2x4", label)


def accuracy(text: str) -> str:
    return one("Accuracy", f"accuracy_param {{ {text} }}", "2x4", "2")


# A blob that receives a gradient: 2x4, computed with weights.
DENSE = "inner_product_param { num_output: %d }"


def trained(outputs: int = 4, top: str = "w", name: str = "d") -> str:
    return layer("InnerProduct", "a", top, DENSE % outputs, name)


def to_labels(type_: str, outputs: int, *more: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Nets where a loss computes a gradient for its labels, and the same nets where it does not."""
    start = source("a", "2x4") + source("b", f"2x{outputs}") + "".join(
        source(name, shape) for name, shape in zip("ef", more, strict=False))  # fmt: skip
    rest = " ".join("ef"[: len(more)])
    inputs = start + trained(outputs) + trained(4, "s", "scores")
    return (
        (inputs + layer(type_, f"s w {rest}"),),
        (
            inputs + layer(type_, f"s b {rest}"),
            inputs + layer(type_, f"s w {rest}", "t", "propagate_down: true propagate_down: false"
                         + " propagate_down: false" * len(more)),
        ),
    )  # fmt: skip


def gradient(
    type_: str, file: str, line: int, what: str, nets: tuple[tuple[str, ...], tuple[str, ...]]
) -> Row:
    return Row(f"{type_.lower()}.no-gradient", type_, f"No gradient is computed for {what}.", f"{file}:{line}",
               *nets, phase="TRAIN", when="backward")  # fmt: skip


def through(type_: str, bottoms: str = "w", params: str = "", more: str = "", tops: str = "t"
            ) -> tuple[tuple[str, ...], tuple[str, ...]]:  # fmt: skip
    """A loss after a layer without backward, with weights before it and without."""
    start = source("a", "2x4") + more
    first = tops.split()[0]
    loss = layer("Reduction", first, "loss", "loss_weight: 1", "sum")
    free = bottoms.replace("w", "a", 1)
    return (
        (start + trained() + layer(type_, bottoms, tops, params) + loss,),
        (start + layer(type_, free, tops, params) + loss,),
    )


ONES = layer("DummyData", "", "b",
             "dummy_data_param { shape { dim: 2 } data_filler { type: 'constant' value: 1 } }", "b")  # fmt: skip
HINTS = "embed_param { num_output: 2 input_dim: 3 }"
STEPS = "recurrent_param { num_output: 3 }"
ROWS = (
    *(samples(type_) for type_ in ("EuclideanLoss", "SigmoidCrossEntropyLoss", "HingeLoss",
                                   "MultinomialLogisticLoss", "SoftmaxWithLoss", "InfogainLoss",
                                   "ContrastiveLoss")),
    *labelled("SoftmaxWithLoss", "softmax_param", "softmax_loss_layer.cpp", 47),
    *labelled("Accuracy", "accuracy_param", "accuracy_layer.cpp", 31),
    *labelled("InfogainLoss", "infogain_loss_param", "infogain_loss_layer.cpp", 60),
    Row("softmaxwithloss.second-top", "SoftmaxWithLoss",
        "It has no second top: its inner Softmax with one top receives both loss_weight values.",
        "layer.hpp:392", (one("SoftmaxWithLoss", "", "2x4", "2", tops="t u"),
                          one("SoftmaxWithLoss", "loss_weight: 1 loss_weight: 0", "2x4", "2", tops="t u")),
        (one("SoftmaxWithLoss", "", "2x4", "2"),)),
    Row("accuracy.top-k", "Accuracy", "top_k is not above the number of classes.", "accuracy_layer.cpp:25",
        (accuracy("top_k: 5"),), (accuracy("top_k: 4"),)),
    Row("euclideanloss.values", "EuclideanLoss", "Both bottoms have the same number of values per sample.",
        "euclidean_loss_layer.cpp:12", (one("EuclideanLoss", "", "2x4", "2x3"),),
        (one("EuclideanLoss", "", "2x4", "2x2x2"),)),
    Row("sigmoidcrossentropyloss.values", "SigmoidCrossEntropyLoss", "Both bottoms have the same number of values.",
        "sigmoid_cross_entropy_loss_layer.cpp:41", (one("SigmoidCrossEntropyLoss", "", "2x4", "2x3"),),
        (one("SigmoidCrossEntropyLoss", "", "2x4", "2x2x2"),)),
    *(Row(f"{type_.lower()}.axes", type_, "The first bottom has at most 4 axes.", "blob.hpp:140",
          (one(type_, "", FIVE, *rest),), (one(type_, "", "2x4x1x1", *rest),))
      for type_, rest in (("EuclideanLoss", ("2x4",)), ("HingeLoss", ("2",)),
                          ("MultinomialLogisticLoss", ("2",)), ("ContrastiveLoss", ("2x4", "2")))),
    Row("infogainloss.no-normalize", "InfogainLoss", "loss_param.normalize is not set.",
        "infogain_loss_layer.cpp:36",
        (infogain("2x4", "2", "1x1x4x4", text="loss_param { normalize: true }"),
         infogain("2x4", "2", "1x1x4x4", text="loss_param { normalize: false }")),
        (infogain("2x4", "2", "1x1x4x4", text="loss_param { normalization: FULL }"),)),
    Row("infogainloss.matrix-given", "InfogainLoss", "The matrix is a third bottom, or source names a file.",
        "infogain_loss_layer.cpp:41", (infogain("2x4", "2"),), (infogain("2x4", "2", "1x1x4x4"),)),
    Row("infogainloss.matrix-size", "InfogainLoss", "The matrix has classes x classes values.",
        "infogain_loss_layer.cpp:72", (infogain("2x4", "2", "1x1x4x3"),),
        (infogain("2x4", "2", "4x4"), infogain("2x4", "2", "16"))),
    Row("multinomiallogisticloss.label-channels", "MultinomialLogisticLoss", "The labels have 1 channel.",
        "multinomial_logistic_loss_layer.cpp:14", (multinomial("2x2"),), (multinomial("2x1"),)),
    Row("multinomiallogisticloss.label-height", "MultinomialLogisticLoss", "The labels have height 1.",
        "multinomial_logistic_loss_layer.cpp:15", (multinomial("2x1x2"),), (multinomial("2x1x1"),)),
    Row("multinomiallogisticloss.label-width", "MultinomialLogisticLoss", "The labels have width 1.",
        "multinomial_logistic_loss_layer.cpp:16", (multinomial("2x1x1x2"),), (multinomial("2x1x1x1"),)),
    c("channels", "The vectors have one length.", 13, (contrastive("2x4", "2x3", "2"),)),
    c("first-height", "The first vector has height 1.", 14, (contrastive("2x4x2", "2x4x2", "2"),)),
    c("first-width", "The first vector has width 1.", 15, (contrastive("2x4x1x2", "2x4x1x2", "2"),)),
    c("second-height", "The second vector has height 1.", 16, (contrastive("2x4", "2x4x2", "2"),)),
    c("second-width", "The second vector has width 1.", 17, (contrastive("2x4", "2x4x1x2", "2"),)),
    c("label-channels", "The labels have 1 channel.", 18, (contrastive("2x4", "2x4", "2x2"),)),
    c("label-height", "The labels have height 1.", 19, (contrastive("2x4", "2x4", "2x1x2"),)),
    c("label-width", "The labels have width 1.", 20, (contrastive("2x4", "2x4", "2x1x1x2"),)),
    gradient("SoftmaxWithLoss", "softmax_loss_layer.cpp", 121, "the labels", to_labels("SoftmaxWithLoss", 1)),
    gradient("SigmoidCrossEntropyLoss", "sigmoid_cross_entropy_loss_layer.cpp", 108, "the targets",
             to_labels("SigmoidCrossEntropyLoss", 4)),
    gradient("HingeLoss", "hinge_loss_layer.cpp", 46, "the labels", to_labels("HingeLoss", 1)),
    gradient("MultinomialLogisticLoss", "multinomial_logistic_loss_layer.cpp", 41, "the labels",
             to_labels("MultinomialLogisticLoss", 1)),
    gradient("InfogainLoss", "infogain_loss_layer.cpp", 172, "the labels and the matrix",
             to_labels("InfogainLoss", 1, "1x1x4x4")),
    gradient("BatchReindex", "batch_reindex_layer.cpp", 55, "the indices",
             ((source("a", "2x4") + layer("InnerProduct", "a", "w", DENSE % 1 + " ", "d")
               + layer("Reshape", "w", "i", "reshape_param { shape { dim: -1 } }", "r")
               + layer("BatchReindex", "a i") + layer("Reduction", "t", "loss", "loss_weight: 1", "sum"),),
              (source("a", "2x4") + source("i", "2") + trained()
               + layer("BatchReindex", "w i") + layer("Reduction", "t", "loss", "loss_weight: 1", "sum"),))),
    gradient("Embed", "embed_layer.cpp", 88, "the indices", through("Embed", params=HINTS)),
    gradient("Filter", "filter_layer.cpp", 82, "the selector",
             ((source("a", "2x4") + trained(1) + layer("Filter", "a w")
               + layer("Reduction", "t", "loss", "loss_weight: 1", "sum"),),
              (source("a", "2x4") + ONES + trained() + layer("Filter", "w b")
               + layer("Reduction", "t", "loss", "loss_weight: 1", "sum"),))),
    gradient("LSTM", "recurrent_layer.cpp", 280, "cont",
             ((source("a", "2x4") + source("x", "2x4x3") + trained() + layer("LSTM", "x w", "t", STEPS)
               + layer("Reduction", "t", "loss", "loss_weight: 1", "sum"),),
              (source("b", "2x4") + source("x", "2x4x3") + layer("LSTM", "x b", "t", STEPS)
               + layer("Reduction", "t", "loss", "loss_weight: 1", "sum"),))),
    gradient("RNN", "recurrent_layer.cpp", 280, "cont",
             ((source("a", "2x4") + source("x", "2x4x3") + trained() + layer("RNN", "x w", "t", STEPS)
               + layer("Reduction", "t", "loss", "loss_weight: 1", "sum"),),
              (source("b", "2x4") + source("x", "2x4x3") + layer("RNN", "x b", "t", STEPS)
               + layer("Reduction", "t", "loss", "loss_weight: 1", "sum"),))),
    gradient("LSTMUnit", "lstm_unit_layer.cpp", 74, "cont",
             ((source("a", "1x2x3") + source("b", "1x2x12")
               + layer("InnerProduct", "a", "w", "inner_product_param { num_output: 2 }", "d")
               + layer("LSTMUnit", "a b w", "t u")
               + layer("Reduction", "t", "loss", "loss_weight: 1", "sum")
               + layer("Silence", "u", "", "", "quiet"),),
              (source("a", "1x2x3") + source("b", "1x2x12") + source("w", "1x2")
               + layer("LSTMUnit", "a b w", "t u")
               + layer("Reduction", "t", "loss", "loss_weight: 1", "sum")
               + layer("Silence", "u", "", "", "quiet"),))),
    gradient("ArgMax", "argmax_layer.hpp", 67, "the bottom", through("ArgMax")),
    gradient("Threshold", "threshold_layer.hpp", 56, "the bottom", through("Threshold")),
    gradient("Accuracy", "accuracy_layer.hpp", 79, "the bottoms",
             ((source("a", "2x4") + source("b", "2") + trained() + layer("Accuracy", "w b", "t", "loss_weight: 1"),),
              (source("a", "2x4") + source("b", "2") + trained() + layer("Accuracy", "w b"),))),
)  # fmt: skip
