"""OpenCV 4: the dnn module's Caffe reader."""

import numpy as np
from refusal import Refused

WORDS = (  # the most telling lines of its output
    r"Can't create layer .* of type \"[^\"]*\"",
    r'has no field named "\w+"',
    r"error: \(-\d+:(Assertion failed)\) (.*)",
    r"getMemoryShapes\(\) (?:post validation failed|throws exception).*",
    r"error: \(-\d+:[^)]*\) (.*)",
)


def load():
    import cv2

    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise ImportError("OpenCV %s has no reader for Caffe" % cv2.__version__)
    return cv2.__version__


def run(net, weights, inputs, options):
    import cv2

    try:
        loaded = cv2.dnn.readNetFromCaffe(net, weights)
        for name, array in inputs.items():
            loaded.setInput(np.ascontiguousarray(array, "f"), name)
        names = loaded.getUnconnectedOutLayersNames()
        outputs = {}
        for name, tops in zip(names, loaded.forwardAndRetrieve(list(names))):
            # The first top has the name of its layer; OpenCV numbers the others.
            outputs.update({"%s.%d" % (name, i) if i else name: top for i, top in enumerate(tops)})
        return outputs
    except cv2.error as error:
        raise Refused(str(error)) from None
