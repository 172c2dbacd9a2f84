"""Caffe itself, by its Python interface (pycaffe), or the Caffe inside TPU-MLIR. Gives every blob.

Options: ``phase`` ("TEST" or "TRAIN"), ``backward`` (computes gradients too).
"""

import importlib.util
import os
import signal
import sys
import types

REFUSES_BY = (signal.SIGABRT, signal.SIGSEGV, signal.SIGFPE)  # a failed CHECK ends the process

WORDS = (  # the most telling lines of its output
    r'Message type "[\w.]+" has no field named "\w+"',
    r"Unknown layer type: \w+",
    r"Error parsing text-format [\w.]+: (.*)",
    r"Check failed: .*",
)


def load():
    os.environ["GLOG_minloglevel"] = "2"
    for name in ("skimage", "skimage.io", "skimage.transform", "scipy", "scipy.ndimage"):
        # pycaffe reads images with these modules. Without them its fork is three times as fast.
        sys.modules[name] = types.ModuleType(name)
    sys.modules["scipy.ndimage"].zoom = sys.modules["skimage.transform"].resize = None
    name = "pycaffe"
    if importlib.util.find_spec("caffe") is None:
        name = "the Caffe of TPU-MLIR"
        import tpu_mlir  # sets the library path of its own Caffe

        sys.path.insert(0, os.path.join(os.path.dirname(tpu_mlir.__file__), "python"))
    import caffe

    version = getattr(caffe, "__version__", "of unknown version")
    return {"version": "%s %s" % (name, version), "types": list(caffe.layer_type_list())}


def run(net, weights, inputs, options):
    import caffe

    phase = caffe.TRAIN if options.get("phase") == "TRAIN" else caffe.TEST
    loaded = caffe.Net(net, phase)
    if weights:
        loaded.copy_from(weights)
    for name, array in inputs.items():
        loaded.blobs[name].reshape(*array.shape)  # an in-place layer may have changed the shape
        loaded.blobs[name].data[...] = array
    loaded.forward()
    if options.get("backward"):
        loaded.backward()
    return {name: blob.data for name, blob in loaded.blobs.items() if "_split_" not in name}
