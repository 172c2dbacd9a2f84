"""Checks of BVLC Caffe that no text and weights of a net can violate, with the reason."""

from __future__ import annotations

UNREACHABLE = (
    ("`layer.hpp:349` to `379`", "They are the numbers of bottoms and tops in the table; each layer's header defines them."),
    ("`blob.hpp:119`; `filler.hpp:55`, `71`, `149`, `194`; `data_transformer.cpp:33`; `net.cpp:404`",
     "Each repeats a check of the table, or follows after it."),
    ("`blob.hpp:87` to `90`, `142`", "They follow from the check of an axis."),
    ("`pooling_layer.cpp:235`, `315`", "STOCHASTIC runs only on a GPU: it depends on the machine, not on the net."),
    ("`net.cpp:839`; `blob.cpp:170`, `171`", "They depend on how Caffe was built, or on number types that no net has."),
    ("`upgrade_proto.cpp:1043` to `1121`", "Solvers."),
    ("`blob.cpp:79`, `85` to `163`, `195` to `461`; `blob.hpp:143` to `215`",
     "Memory allocation, and indexes that Caffe itself computes. A blob without values is the row of empty "
     "blobs."),
    ("`layer.hpp:443`, `460`; `layer_factory.hpp:69`; `pooling_layer.hpp` of cuDNN; all `cudnn_*`, `CUDA_CHECK`",
     "They depend on CPU or GPU, and on how Caffe was built."),
    ("`layer_factory.cpp:66` to `283`", "`engine` is an enum; all builds know its values, but a build without cuDNN has no CUDNN."),
    ("`filler.hpp:112`; `math_functions.cpp:257` to `320` except those of the table",
     "They count what an earlier check covers."),
    ("`net.cpp:519`, `520`, `570`, `571`", "Layers that a program accesses by index."),
    ("`net.cpp:684`, `688`", "Nets that share weights within a program: two nets from one text always match."),
    ("`net.cpp:794`, `796`, `810`, `862` to `915`", "HDF5 files that cannot be opened or written."),
    ("`blob.cpp:49`, `486` to `508` for caffemodels", "The reader of caffemodels refuses such a file for any net; blobs in a prototxt are in the table."),
    ("Unknown values of an enum: `lrn_layer.cpp:103`, `175`; `pooling_layer.cpp:105`, `238`, `318`; "
     "`reduction_layer.cpp:63`, `93`, `113`; `eltwise_layer.cpp:97`, `149`; `hinge_loss_layer.cpp:38`, `70`; "
     "`softmax_loss_layer.cpp:80`; `sigmoid_cross_entropy_loss_layer.cpp:70`; `infogain_loss_layer.cpp:106`; `spp_layer.cpp:58`",
     "Caffe's parser refuses the text first, and so does protogen."),
    ("`base_conv_layer.cpp:21`, `188`, `191`; `batch_norm_layer.cpp:55`; `inner_product_layer.cpp:64`; "
     "`recurrent_layer.cpp:185` to `192`; `prelu_layer.cpp:57`; `lstm_layer.cpp:88`; `rnn_layer.cpp:83`",
     "They repeat the checks of the first shapes when shapes change later."),
    ("`concat_layer.cpp:49`; `slice_layer.cpp:70`; `split_layer.cpp:21`; `flatten_layer.cpp:26`; "
     "`reduction_layer.cpp:28`; `reshape_layer.cpp:61`; `argmax_layer.cpp:20`, `21`; `crop_layer.cpp:22`, `25`; "
     "`pooling_layer.cpp:51`, `116`, `117`; `hdf5_output_layer.cpp:44`; `infogain_loss_layer.cpp:116`",
     "They follow from earlier checks."),
    ("`exp_layer.cpp:19`; `log_layer.cpp:19`, `24`", "A logarithm of a number above 0 is not NaN."),
    ("`recurrent_layer.cpp:40`, `113` to `178`, `201`", "The inner net that the layer builds."),
    ("`batch_reindex_layer.cpp:25`, `27`", "Indices are data."),
    ("`window_data_layer.cpp:79` to `352`, `hdf5_data_layer.cpp:32` to `55`, `90`, `96`, `hdf5_output_layer.cpp:18`, "
     "`26`, `34`, `image_data_layer.cpp:49` to `77`, `116` to `148`, `data_layer.cpp:88`, `89`, "
     "`data_transformer.cpp:56` to `68`, `148` to `537`",
     "Files and their contents, except those of the table."),
    ("`memory_data_layer.cpp:35` to `110`", "Data that a program passes."),
    ("`infogain_loss_layer.cpp:176`", "A gradient for the matrix is rejected together with that for the labels."),
    ("`python_layer.hpp:25`", "Several GPUs."),
    ("`upgrade_proto.cpp:90`, `97`; `731`, `959`", "A file that does not parse (protogen reports the position), and enums."),
    ("All `DCHECK`", "Release builds do not contain them."),
)  # fmt: skip
