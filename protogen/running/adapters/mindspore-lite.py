"""MindSpore Lite: its converter (FmkType.CAFFE) and its CPU runtime."""

import numpy as np
from refusal import Refused

WORDS = (  # the most telling lines of its output; later lines report only that a caller has failed
    r'Message type "[\w.]+" has no field named "\w+"',
    r"(?s)(UNSUPPORTED OP LIST:).*?(OP TYPE: \w+)",
    r"\] (?:Parse|CheckParameters|InspectModel)\] (.*)",
    r"\[ERROR\].*\] (.*(?:not support|unsupported|Unsupported|invalid|should).*)",
    r"InferShape failed, name: .*",
    r"(node: .* failed.*|FindBackendKernel return nullptr.*)",
    r"parse node .* failed.*",
)


def load():
    import mindspore_lite

    return getattr(mindspore_lite, "__version__", "of unknown version")


def run(net, weights, inputs, options):
    import mindspore_lite as lite

    converter = lite.Converter()
    converter.save_type = lite.ModelType.MINDIR_LITE
    context = lite.Context()
    context.target = ["cpu"]
    model = lite.Model()
    try:
        converter.convert(lite.FmkType.CAFFE, net, "net", weights)
        model.build_from_file("net.ms", lite.ModelType.MINDIR_LITE, context)
    except RuntimeError as error:
        raise Refused(str(error)) from None
    tensors = model.get_inputs()
    arrays = []  # they must live as long as the tensors
    for tensor in tensors:
        if tensor.name not in inputs:
            raise Refused("its input is named %s" % tensor.name)
        array = np.ascontiguousarray(inputs[tensor.name], "f")
        if array.ndim == 4:  # N, H, W, C, whatever its property ``format`` says
            array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
        arrays.append(array)
        tensor.set_data_from_numpy(array)
    if hasattr(model, "get_outputs"):
        results = model.get_outputs()
        model.predict(tensors, results)
    else:
        results = model.predict(tensors)
    # The arrays are views of memory that ends with the model.
    return {result.name: np.array(result.get_data_to_numpy()) for result in results}
