"""rknn-toolkit2: load_caffe, build without quantisation, run in its simulator (float16). Names no
outputs."""

import numpy as np
from refusal import Refused

WORDS = (  # the most telling lines of its output
    r"OP in Layer .* [Nn]ot support",
    r'Message type .* has no field named "?\w+"?',
    r"Status Message: (.*)",
    r"\[ONNXRuntimeError\] : \d+ : \w+ : (.*)",
    r"^\w*(?:Error|Exception): .*\w.*",
    r"^E (?!rknn-toolkit2)(.*\w.*)",
)


def load():
    from importlib.metadata import version

    import rknn.api

    return version("rknn-toolkit2")


def run(net, weights, inputs, options):
    from rknn.api import RKNN

    toolkit = RKNN(verbose=False)
    toolkit.config(target_platform=options.get("platform", "rk3588"))
    try:
        taken = toolkit.load_caffe(model=net, blobs=weights) == 0
        taken = taken and toolkit.build(do_quantization=False) == 0
    except Exception as error:  # its own code raises whatever fails first
        raise Refused(repr(error)) from None
    if not taken:
        raise Refused("")
    if toolkit.init_runtime() != 0:
        raise Refused("")
    arrays = [np.ascontiguousarray(array, "f") for array in inputs.values()]
    layouts = ["nchw" if array.ndim == 4 else "undefined" for array in arrays]
    outputs = toolkit.inference(inputs=arrays, data_format=layouts)
    if outputs is None:
        raise Refused("")
    return list(outputs)
