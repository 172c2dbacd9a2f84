"""Real Caffe as a reference ("judge"): a process in Caffe's own environment that runs nets.

There are two Caffes. ``caffe`` is BVLC's, prebuilt, with a few more layers. It is the reference for all its
types except BatchNorm, where it ignores ``use_global_stats: false``. ``tpucaffe`` is the fork inside
TPU-MLIR, with 84 types. Both agree on their common types, with two exceptions: AVE Pooling at a clipped
window (the fork divides by the whole window), and DummyData (the fork does not run fillers).
"""

from __future__ import annotations

import atexit
import functools
import io
import os
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WORKER = Path(__file__).parent / "worker.py"
JUDGES = Path(os.environ.get("JUDGES") or Path.home() / ".cache" / "judges")
NAMES = ("caffe", "tpucaffe")  # in order of preference


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


class Caffe:
    """One Caffe, in its own process."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [JUDGES / name / "bin" / "python", WORKER, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        atexit.register(self.close)
        self.types = frozenset(self._receive()["types"].tobytes().decode().split())

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
        arrays = {f"in:{name}": np.asarray(array, np.float32) for name, array in inputs.items()}
        arrays["net"] = np.frombuffer(net.encode(), np.uint8)
        arrays["phase"] = np.array(("TRAIN", "TEST").index(phase))
        if backward:
            arrays["backward"] = np.array(1)
        if caffemodel:
            arrays["caffemodel"] = np.frombuffer(caffemodel, np.uint8)
        file = io.BytesIO()
        np.savez(file, **arrays)
        data = file.getvalue()
        assert self.process.stdin is not None
        self.process.stdin.write(struct.pack(">Q", len(data)) + data)
        self.process.stdin.flush()
        answer = self._receive()
        if "failed" in answer:
            raise RuntimeError(answer["failed"].tobytes().decode())
        if "refused" in answer:
            return Answer(refused=answer["refused"].tobytes().decode())
        return Answer(
            {
                key.removeprefix("out:"): array
                for key, array in answer.items()
                if "_split_" not in key and not key.startswith("out:(automatic)")
            }
        )

    def close(self) -> None:
        """End the process."""
        if self.process.poll() is None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait()

    def _receive(self) -> dict[str, NDArray[Any]]:
        stream = self.process.stdout
        assert stream is not None
        head = stream.read(8)
        if len(head) < 8:
            raise RuntimeError(f"the process of {self.name} ended ({self.process.wait()})")
        with np.load(io.BytesIO(stream.read(struct.unpack(">Q", head)[0]))) as archive:
            return {key: archive[key] for key in archive.files}


@functools.cache
def caffe(name: str) -> Caffe:
    """Return the process of a Caffe; all tests of a session share it."""
    return Caffe(name)
