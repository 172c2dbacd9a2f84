"""MNN: its converter (``mnnconvert -f CAFFE``) and its CPU runtime."""

import os

import numpy as np
from refusal import Refused

WORDS = (  # the most telling lines of its output
    r'Message type "[\w.]+" has no field named "\w+"',
    r"Op Not Support: .*",
    r"Check failed: .*",
)


def load():
    import _tools  # the converter; MNN.tools.mnnconvert would install a package for statistics
    import MNN

    return MNN.version()


def run(net, weights, inputs, options):
    import _tools
    import MNN

    arguments = ["mnnconvert", "-f", "CAFFE", "--modelFile", weights, "--prototxt", net]
    _tools.mnnconvert([*arguments, "--MNNModel", "net.mnn", "--keepInputFormat", "1"])
    if not os.path.exists("net.mnn"):
        raise Refused("")
    interpreter = MNN.Interpreter("net.mnn")
    session = interpreter.createSession({"backend": "CPU", "precision": "high"})
    tensors = interpreter.getSessionInputAll(session)
    unknown = [name for name in inputs if name not in tensors]
    if unknown:
        raise Refused("the model has no input %s, only %s" % (unknown[0], ", ".join(tensors)))
    for name, array in inputs.items():
        interpreter.resizeTensor(tensors[name], array.shape)
    interpreter.resizeSession(session)
    layout = MNN.Tensor_DimensionType_Caffe
    for name, array in inputs.items():
        array = np.ascontiguousarray(array, "f")
        tensors[name].copyFrom(MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, layout))
    interpreter.runSession(session)
    outputs = {}
    for name, tensor in interpreter.getSessionOutputAll(session).items():
        shape = tensor.getShape()
        if tensor.getDimensionType() != layout and len(shape) == 4:
            shape = (shape[0], shape[3], shape[1], shape[2])  # it states N, H, W, C
        host = MNN.Tensor(shape, MNN.Halide_Type_Float, np.zeros(shape, "f"), layout)
        tensor.copyToHostTensor(host)
        outputs[name] = np.array(host.getNumpyData(), "f").reshape(shape)
    return outputs
