"""Compares the answers of toolchains with the right outputs of a form."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from preparing import Prepared
from reasons import reason

from protogen.running.matching import long_axes
from protogen.toolchains.toolchain import load_toolchain

Arrays = dict[str, NDArray[np.float32]]
SAME = 1e-4  # of two computations that must agree
ABORTED = "signal 6"
LAYERS_NAME_OUTPUTS = ("opencv4",)


def difference(actual: NDArray[Any], right: NDArray[np.float32]) -> float:
    """Return the largest difference, relative to the largest magnitude of the right values."""
    actual = np.asarray(actual, np.float64).reshape(right.shape)
    if not np.isfinite(actual).all():
        return float("nan")
    if not actual.size:
        return 0.0
    return float(np.abs(actual - right).max() / max(1e-6, float(np.abs(right).max())))


def truth_of(prepared: Prepared, answer: Mapping[str, Any] | None) -> Arrays | None:
    """Return the outputs that a Caffe gives; None if it refuses the net."""
    if answer is None or answer["state"] != "ran":
        return None
    blobs = dict(zip(answer["names"], answer["arrays"], strict=True))
    return {name: blobs[name] for name in prepared.outputs if name in blobs}


def decide(
    prepared: Prepared, bvlc: Arrays | None, fork: Arrays | None
) -> tuple[Arrays | None, str]:
    """Return the right outputs, and a note if those who know them do not agree."""
    truth: Arrays | None = None
    if not prepared.refused:
        truth = {name: array for name, array in prepared.outputs.items() if array is not None}
    truth = truth or fork or bvlc
    if truth is None:
        return None, f"nobody runs it: {prepared.refused}"
    notes = []
    for name, outputs in (("caffe-1.0", bvlc), ("tpu-caffe", fork)):
        for blob in truth if outputs is not None else ():
            assert outputs is not None
            if blob not in outputs:
                notes.append(f"{name} has no {blob}")
            elif outputs[blob].shape != truth[blob].shape:
                notes.append(f"{name} {blob} {outputs[blob].shape}, not {truth[blob].shape}")
            elif not difference(outputs[blob], truth[blob]) <= SAME:
                notes.append(f"{name} differs by {difference(outputs[blob], truth[blob]):.2g}")
    return truth, "; ".join(notes)


def renamed(blob: str, names: list[str]) -> list[str]:
    """Return names that TPU-MLIR gives to a top: ``y/1`` if the top is written again in place (the
    highest number is the last), ``y_scale`` for the last part of a Normalize layer."""
    again = [name for name in names if re.fullmatch(re.escape(blob) + r"/\d+", name)]
    again.sort(key=lambda name: int(name.rpartition("/")[2]), reverse=True)
    return [*again, blob, f"{blob}_scale"]


def matched(
    prepared: Prepared, truth: Arrays, tool: str, answer: Mapping[str, Any]
) -> dict[str, NDArray[Any]]:
    """Return the array of each output: by blob, by layer, or by position."""
    arrays, names = answer["arrays"], answer["names"]
    if names is not None:
        by_name = dict(zip(names, arrays, strict=True))
        result = {}
        for blob in truth:
            both = [*renamed(blob, names), prepared.layers.get(blob, blob)]
            both += [one for one in [prepared.copies.get(blob, "")] if one and one not in truth]
            if tool in LAYERS_NAME_OUTPUTS:
                both.reverse()
            name = next((name for name in both if name in by_name), "")
            if name:
                result[blob] = by_name.pop(name)
        if len(result) == len(truth) or len(arrays) != len(truth):
            return result
    count = min(len(truth), len(arrays))
    orders = itertools.islice(itertools.permutations(arrays, count), 24)
    pairs = [dict(zip(truth, order, strict=False)) for order in orders]

    def error(pair: dict[str, NDArray[Any]]) -> float:
        if any(long_axes(pair[blob]) != long_axes(truth[blob]) for blob in pair):
            return float("inf")
        value = max((difference(pair[blob], truth[blob]) for blob in pair), default=float("inf"))
        return float("inf") if np.isnan(value) else value

    return min(pairs, key=error)


def verdict(prepared: Prepared, truth: Arrays, tool: str, answer: Mapping[str, Any]) -> str:
    """Return right, wrong, refused, crashed or hung, with a short detail after a space."""
    state = answer["state"]
    if state == "hung":
        return "hung"
    if answer["message"] == ABORTED and "Check failed" in answer["log"]:
        state = "refused"  # a failed check of a Caffe inside ends the process
    if state != "ran":
        return f"{state} {reason(state, answer)}".strip()
    actual = matched(prepared, truth, tool, answer)
    worst = 0.0
    for blob, right in truth.items():
        if blob not in actual:
            return "wrong output missing"
        if long_axes(actual[blob]) != long_axes(right):
            return f"wrong shape {'x'.join(map(str, actual[blob].shape)) or 'of a scalar'}"
        error = difference(actual[blob], right)
        if np.isnan(error):
            return "wrong not finite"
        worst = max(worst, error)
    if worst <= load_toolchain(tool).tolerance:
        return "right"
    return "wrong above 10" if worst > 10 else f"wrong {worst:.2g}"
