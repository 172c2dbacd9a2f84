"""Real Caffe as a reference ("judge"), by the client that ``protogen try`` uses.

There are two Caffes. ``caffe`` is BVLC's, prebuilt, with a few more layers. It is the reference for all its
types except BatchNorm, where it ignores ``use_global_stats: false``. ``tpucaffe`` is the fork inside
TPU-MLIR, with 84 types. Both agree on their common types, with two exceptions: AVE Pooling at a clipped
window (the fork divides by the whole window), and DummyData (the fork does not run fillers).
"""

from __future__ import annotations

import atexit
import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protogen.running.toolchain import ADAPTERS, Worker

JUDGES = Path(os.environ.get("JUDGES") or Path.home() / ".cache" / "judges")
NAMES = ("caffe", "tpucaffe")  # in order of preference
SECONDS = 30  # for one net


@dataclass(frozen=True)
class Answer:
    """Caffe's answer: all blobs by name, or its error message in ``refused``."""

    blobs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    refused: str = ""


def missing(name: str) -> str:
    """Return why a Caffe is not available; empty if it is."""
    if (JUDGES / name / "READY").is_file():
        return ""
    return f"no {name} in {JUDGES}: ../shared/judges/setup {name} installs it"


def last_message(log: str) -> str:
    """Return Caffe's last message: the text of a failed check, without time and process."""
    lines = log.splitlines()
    fatal = [line for line in lines if line[:1] == "F" and "] " in line]
    if fatal:
        source, message = fatal[-1].split("] ", 1)
        return f"{source.split()[-1].split(':')[0]}: {message}"
    return " ".join(lines[-3:])


class Caffe:
    """One Caffe, in its own process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.worker = Worker(
            ADAPTERS / "caffe.py", JUDGES / name / "bin" / "python", seconds=SECONDS
        )
        atexit.register(self.close)
        self.types = frozenset(self.worker.start()["types"])

    def run(
        self,
        net: str,
        inputs: Mapping[str, NDArray[Any]],
        caffemodel: bytes = b"",
        phase: str = "TEST",
        backward: bool = False,
    ) -> Answer:
        """Run a net, and return all its blobs, without those of layers that Caffe inserts.

        Args:
            net: the prototxt.
            inputs: float32 arrays by top of the Input layers, with their shapes.
            caffemodel: the weights; without them Caffe's fillers are used.
            phase: TRAIN or TEST.
            backward: whether to compute gradients too.

        Raises:
            RuntimeError: the request is invalid: an input is unknown or has a wrong shape.
        """
        arrays = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        options = {"phase": phase, "backward": backward}
        answer = self.worker.run(net, caffemodel or None, arrays, options=options)
        message = last_message(answer.log)
        if answer.state == "refused":
            return Answer(refused=message or "?")
        if answer.state != "ran":
            raise RuntimeError(f"{answer.state}: {answer.message} {message}")
        assert isinstance(answer.outputs, dict)
        return Answer(
            {
                name: array
                for name, array in answer.outputs.items()
                if not name.startswith("(automatic)")
            }
        )

    def close(self) -> None:
        """End the process."""
        self.worker.close()


@functools.cache
def caffe(name: str) -> Caffe:
    """Return the process of a Caffe; all tests of a session share it."""
    return Caffe(name)
