"""Checks of BVLC Caffe that a net's text and weights cannot violate: which, and why."""

from __future__ import annotations

UNREACHABLE = (
    ("`layer.hpp:349` to `379`", "They are the table's numbers of bottoms and tops, which each layer's header gives."),
    ("`blob.hpp:119`; `filler.hpp:55`, `71`, `149`, `194`; `data_transformer.cpp:33`; `net.cpp:404`",
     "Each says the same as a line of the table, or comes behind it."),
    ("`blob.hpp:87` to `90`, `142`", "They follow from the check of an axis."),
    ("`pooling_layer.cpp:235`, `315`", "STOCHASTIC runs on a GPU alone: a matter of the machine, which a net cannot say."),
    ("`net.cpp:839`; `blob.cpp:170`, `171`", "How Caffe was built, and types of numbers that no net has."),
    ("`upgrade_proto.cpp:1043` to `1121`", "Solvers."),
    ("`blob.cpp:79`, `85` to `163`, `195` to `461`; `blob.hpp:143` to `215`",
     "Memory that is allocated, and indexes that Caffe's own code counts. That a blob without values has none is "
     "the row of empty blobs."),
    ("`layer.hpp:443`, `460`; `layer_factory.hpp:69`; `pooling_layer.hpp` of cuDNN; all `cudnn_*`, `CUDA_CHECK`",
     "CPU or GPU, and how Caffe was built."),
    ("`layer_factory.cpp:66` to `283`", "`engine` is an enum whose values all builds know; without cuDNN there is no CUDNN."),
    ("`filler.hpp:112`; `math_functions.cpp:257` to `320` but for those of the table",
     "They count what is checked before."),
    ("`net.cpp:519`, `520`, `570`, `571`", "Layers that a program asks for by number."),
    ("`net.cpp:684`, `688`", "Nets that share weights within a program: of one text they fit."),
    ("`net.cpp:794`, `796`, `810`, `862` to `915`", "HDF5 files that cannot be opened or written."),
    ("`blob.cpp:49`, `486` to `508` for caffemodels", "The reader of caffemodels refuses such a file itself, whatever the net is; blobs in a text are in the table."),
    ("Unknown values of an enum: `lrn_layer.cpp:103`, `175`; `pooling_layer.cpp:105`, `238`, `318`; "
     "`reduction_layer.cpp:63`, `93`, `113`; `eltwise_layer.cpp:97`, `149`; `hinge_loss_layer.cpp:38`, `70`; "
     "`softmax_loss_layer.cpp:80`; `sigmoid_cross_entropy_loss_layer.cpp:70`; `infogain_loss_layer.cpp:106`; `spp_layer.cpp:58`",
     "Caffe's parser refuses the text before; protogen does so too."),
    ("`base_conv_layer.cpp:21`, `188`, `191`; `batch_norm_layer.cpp:55`; `inner_product_layer.cpp:64`; "
     "`recurrent_layer.cpp:185` to `192`; `prelu_layer.cpp:57`; `lstm_layer.cpp:88`; `rnn_layer.cpp:83`",
     "They repeat, when shapes change later, what the first shapes were checked for."),
    ("`concat_layer.cpp:49`; `slice_layer.cpp:70`; `split_layer.cpp:21`; `flatten_layer.cpp:26`; "
     "`reduction_layer.cpp:28`; `reshape_layer.cpp:61`; `argmax_layer.cpp:20`, `21`; `crop_layer.cpp:22`, `25`; "
     "`pooling_layer.cpp:51`, `116`, `117`; `hdf5_output_layer.cpp:44`; `infogain_loss_layer.cpp:116`",
     "They follow from checks before them."),
    ("`exp_layer.cpp:19`; `log_layer.cpp:19`, `24`", "A logarithm of a number above 0 is not NaN."),
    ("`recurrent_layer.cpp:40`, `113` to `178`, `201`", "The net that the layer makes for itself."),
    ("`batch_reindex_layer.cpp:25`, `27`", "Indices come with the data."),
    ("`window_data_layer.cpp:79` to `352`, `hdf5_data_layer.cpp:32` to `55`, `90`, `96`, `hdf5_output_layer.cpp:18`, "
     "`26`, `34`, `image_data_layer.cpp:49` to `77`, `116` to `148`, `data_layer.cpp:88`, `89`, "
     "`data_transformer.cpp:56` to `68`, `148` to `537`",
     "Files, and what is in them; but for those of the table."),
    ("`memory_data_layer.cpp:35` to `110`", "What a program hands over."),
    ("`infogain_loss_layer.cpp:176`", "A gradient for the matrix is refused with that for the labels."),
    ("`python_layer.hpp:25`", "Several GPUs."),
    ("`upgrade_proto.cpp:90`, `97`; `731`, `959`", "A file that does not parse (protogen says where), and enums."),
    ("All `DCHECK`", "Released builds leave them out."),
)  # fmt: skip
