"""The ratio of the times of two functions; and, as a script, of two nets in OpenCV.

``imported.py`` runs the script in the Python of OpenCV, so this file imports nothing of protogen:

    python benchmarks/pairs.py SOURCE.onnx NET.prototxt NET.caffemodel INPUTS.npz OUTPUTS.npz SECONDS

The names of the inputs start with ``onnx:`` or ``caffe:``. The last line of the output is JSON: the ratio
of the Caffe net to the source and its spread, or which of the two OpenCV refuses.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

ROUNDS = 9  # at least
LEAST = 0.01  # seconds of a measurement; shorter functions run several times in a row


def median_ratio(
    one: Callable[[], object], other: Callable[[], object], seconds: float
) -> tuple[float, float]:
    """Run two functions in turn, and return the median of the ratios of their times, of ``one`` to
    ``other``; and half of the distance between the quartiles of the ratios. A short function runs
    several times in a row."""
    one(), other()
    begin = time.thread_time()
    one(), other()
    repeats = max(1, round(LEAST / max(1e-6, time.thread_time() - begin)))
    ratios: list[float] = []
    begin = time.thread_time()
    while len(ratios) < ROUNDS or time.thread_time() - begin < 2 * seconds:
        took = []
        for function in (one, other) if len(ratios) % 2 else (other, one):
            start = time.thread_time()
            for _ in range(repeats):
                function()
            took.append(time.thread_time() - start)
        ratios.append(took[0] / took[1] if len(ratios) % 2 else took[1] / took[0])
    low, middle, high = statistics.quantiles(ratios, n=4)
    return middle, (high - low) / 2


def runner(net: Any, feeds: Mapping[str, Any]) -> Callable[[], dict[str, Any]]:
    """Return a function that runs a net of OpenCV and returns its outputs by the names of their layers,
    for an ONNX model by the names of its values."""
    names = net.getUnconnectedOutLayersNames()
    ends = [name.rpartition("!")[2] for name in names]

    def run() -> dict[str, Any]:
        for name, array in feeds.items():
            net.setInput(array, name)
        return dict(zip(ends, net.forward(names), strict=True))

    return run


def main() -> None:
    """Run the script."""
    import cv2
    import numpy as np

    source, prototxt, caffemodel, arrays, outputs, seconds = sys.argv[1:]
    cv2.setNumThreads(1)
    readers: dict[str, Callable[[], Any]] = {
        "caffe": lambda: cv2.dnn.readNetFromCaffe(prototxt, caffemodel),
        "onnx": lambda: cv2.dnn.readNetFromONNX(source),
    }
    inputs = {tuple(name.split(":", 1)): array for name, array in np.load(arrays).items()}
    runs: list[Callable[[], dict[str, Any]]] = []
    computed: dict[str, Any] = {}
    for form, read in readers.items():
        feeds = {name: array for (of, name), array in inputs.items() if of == form}
        try:
            runs.append(runner(read(), feeds))
            computed |= {f"{form}:{name}": array for name, array in runs[-1]().items()}
        except cv2.error as error:
            print(json.dumps({"refused": form, "words": str(error)}))
            return
    np.savez(outputs, **computed)
    print(json.dumps({"ratio": median_ratio(runs[0], runs[1], float(seconds))}))


if __name__ == "__main__":
    main()
