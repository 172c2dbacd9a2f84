"""OpenVINO up to 2024: its model optimizer and its CPU runtime."""

import os
import tempfile

import numpy as np
from refusal import Refused

WORDS = (  # the most telling lines of its output
    r'Message type "[\w.]+" has no field named "\w+"',
    r"Found custom layer .*does not support this layer",
    r"Original exception message: (.*)",
    r"(?s)\[ ERROR \]\s+(\S[^\n]*)",
    r'Exception occurred during running replacer .*?\)>?"?\)?:? (.*)',
)


def load():
    import openvino
    import openvino.tools.mo  # only the package openvino-dev has it

    warm_up()
    return openvino.__version__.split("-")[0]  # without its build


def warm_up():
    """Convert a small net, so that the modules that this imports are there for every net."""
    from openvino.tools.mo import convert_model
    from openvino.tools.mo.front.caffe.proto import caffe_pb2
    from openvino.tools.mo.utils import find_ie_version, version

    # It starts a process for each net to find its own version.
    os.environ["CI"] = "1"
    find_ie_version.find_ie_version = version.find_ie_version = lambda silent=False: True
    net = caffe_pb2.NetParameter()
    source = net.layer.add(name="data", type="Input", top=["data"])
    source.input_param.shape.add().dim.extend([1, 1, 2, 2])
    net.layer.add(name="y", type="ReLU", bottom=["data"], top=["y"])
    with tempfile.TemporaryDirectory() as folder:
        text, weights = os.path.join(folder, "n.prototxt"), os.path.join(folder, "n.caffemodel")
        with open(text, "w") as file:
            file.write(str(net))
        with open(weights, "wb") as file:
            file.write(net.SerializeToString())
        convert_model(input_model=weights, input_proto=text, framework="caffe", silent=True)


def run(net, weights, inputs, options):
    import openvino
    from openvino.tools.mo import convert_model

    try:
        model = convert_model(
            input_model=weights,
            input_proto=net,
            framework="caffe",
            silent=True,
            compress_to_fp16=False,
        )
    except Exception as error:  # its errors share no other base class
        raise Refused(str(error)) from None
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled({name: np.ascontiguousarray(a, "f") for name, a in inputs.items()})
    outputs = {}
    for position, output in enumerate(compiled.outputs):
        name = next(iter(output.get_names()), str(position))
        outputs[name.split(":")[0]] = np.array(results[output])
    return outputs
