"""Runs one net again and again in one runtime, with one thread, for rows/forward.py.

It runs in the Python of the runtime, 3.7 or later, and imports nothing of protogen. Each line "run" on
standard input asks for one forward pass; its seconds are the answer. The line "save FILE" writes the outputs
of the last one.

    python forward_worker.py onnxruntime|opencv|caffe INPUTS.npz OUTPUT,OUTPUT MODEL...
"""

import os
import sys
import time

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["GLOG_minloglevel"] = "2"  # noqa: SIM112 (its name in Caffe)

import numpy as np  # noqa: E402 (the number of threads is read at its import)


def onnxruntime(inputs, names, model):
    """The ONNX model in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: dict(zip(names, session.run(names, inputs)))  # noqa: B905 (3.10)


def opencv(inputs, names, prototxt, caffemodel):
    """The prototxt and caffemodel in OpenCV's dnn module."""
    import cv2

    cv2.setNumThreads(1)
    net = cv2.dnn.readNetFromCaffe(prototxt, caffemodel)
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    for name, array in inputs.items():
        net.setInput(array, name)
    ends = net.getUnconnectedOutLayersNames()
    return lambda: dict(zip(ends, net.forward(ends)))  # noqa: B905 (3.10)


def caffe(inputs, names, prototxt, caffemodel):
    """The prototxt and caffemodel in Caffe."""
    try:
        import tpu_mlir  # it contains a Caffe with SSD

        sys.path.insert(0, os.path.join(os.path.dirname(tpu_mlir.__file__), "python"))
    except ImportError:
        pass
    import caffe

    net = caffe.Net(prototxt, caffemodel, caffe.TEST)
    for name, array in inputs.items():
        net.blobs[name].data[...] = array

    def forward():
        net.forward()
        return {name: net.blobs[name].data for name in names}

    return forward


def main():
    tool, inputs, names, *model = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the runtime prints does not belong to the answers
    with np.load(inputs) as file:
        arrays = {name: file[name] for name in file.files}
    forward = {"onnxruntime": onnxruntime, "opencv": opencv, "caffe": caffe}[tool](
        arrays, names.split(","), *model
    )
    outputs = forward()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        word, _, path = line.strip().partition(" ")
        if word == "save":
            np.savez(path, **{name: np.asarray(array) for name, array in outputs.items()})
            print("saved", file=answers, flush=True)
            continue
        start = time.perf_counter()
        outputs = forward()
        print(time.perf_counter() - start, file=answers, flush=True)


if __name__ == "__main__":
    main()
