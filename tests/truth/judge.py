"""Real Caffe, alive: a process in the judge's own environment that runs net after net.

Two Caffes are known. ``caffe`` is BVLC's, prebuilt, with a few layers more: the truth of all types that
it has, but for its BatchNorm, which ignores ``use_global_stats: false``. ``tpucaffe`` is the fork inside
TPU-MLIR, with 84 types. Where both have a type they agree, but for AVE Pooling at a window that the
border cuts (the fork divides by the whole window) and for DummyData (the fork does not run fillers).
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
NAMES = ("caffe", "tpucaffe")  # the first that has a type is asked


@dataclass(frozen=True)
class Answer:
    """What Caffe did with a net: all blobs by name, or the words of its refusal."""

    blobs: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    refused: str = ""


def missing(name: str) -> str:
    """Why a Caffe cannot be asked; empty where it can."""
    if (JUDGES / name / "READY").is_file():
        return ""
    return f"no {name} in {JUDGES}: ../shared/judges/setup {name} installs it"


class Caffe:
    """One Caffe in a process of its own."""

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
        """Every blob of a net after forward, but for the copies that Caffe puts in by itself.

        Args:
            net: its prototxt.
            inputs: float32 arrays by the names of Input layers' tops, in their shapes.
            caffemodel: its weights; without them Caffe's fillers make them.
            phase: TRAIN or TEST.
            backward: whether gradients are computed too.

        Raises:
            RuntimeError: the request is wrong: an input that the net lacks, or of another shape.
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
        found = self._receive()
        if "failed" in found:
            raise RuntimeError(found["failed"].tobytes().decode())
        if "refused" in found:
            return Answer(refused=found["refused"].tobytes().decode())
        return Answer(
            {
                key.removeprefix("out:"): array
                for key, array in found.items()
                if "_split_" not in key and not key.startswith("out:(automatic)")
            }
        )

    def close(self) -> None:
        """Ends the process."""
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
    """The process of a Caffe, one for all tests of a session."""
    return Caffe(name)
