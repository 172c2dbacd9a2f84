"""nncase 1: its compiler (import_caffe) and its simulator of a CPU. Names no outputs."""

import numpy as np
from refusal import Refused

WORDS = (  # the most telling lines of its output
    r'Message type "[\w.]+" has no field named "\w+"',
    r"Not supported Caffe opcode: \w+",
)


def load():
    from importlib.metadata import version

    import nncase

    if not hasattr(nncase.Compiler, "import_caffe"):
        raise ImportError("this release of nncase has no reader for Caffe")
    return version("nncase")


def run(net, weights, inputs, options):
    import nncase

    chosen = nncase.CompileOptions()
    chosen.target = "cpu"
    compiler = nncase.Compiler(chosen)
    with open(net, "rb") as file:
        text = file.read()
    with open(weights, "rb") as file:
        caffemodel = file.read()
    try:
        compiler.import_caffe(caffemodel, text)
        compiler.compile()
        compiled = compiler.gencode_tobytes()
    except RuntimeError as error:
        raise Refused(str(error)) from None
    simulator = nncase.Simulator()
    simulator.load_model(compiled)
    for position, array in enumerate(inputs.values()):
        tensor = nncase.RuntimeTensor.from_numpy(np.ascontiguousarray(array, "f"))
        simulator.set_input_tensor(position, tensor)
    simulator.run()
    return [
        np.array(simulator.get_output_tensor(i).to_numpy()) for i in range(simulator.outputs_size)
    ]
