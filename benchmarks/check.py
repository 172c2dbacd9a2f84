"""``protogen check``: milliseconds per 100 layers, compared with parsing alone.

Input: the published nets of ``../shared/corpus`` if present, otherwise a chain of 10,000 layers. Goal:
below 10 ms per 100 layers.

    python benchmarks/check.py
"""

from __future__ import annotations

import gc
import time
import warnings
from pathlib import Path

from caffe_nets import chain

from protogen.errors import InputError
from protogen.formats import prototxt
from protogen.lint.engine import check_text, selected

CORPUS = Path(__file__).parent.parent.parent / "shared" / "corpus"


def main() -> None:
    gc.set_threshold(100_000)  # the same setting as the command line
    rules = selected()
    texts = [path.read_text(errors="surrogateescape") for path in CORPUS.rglob("*.prototxt")]
    texts = texts or [chain(10_000)]
    check_text(chain(4), "warm", rules)
    layers = 0
    start = time.perf_counter()
    for text in texts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                net = prototxt.parse(text, "net")
            except InputError:
                continue
        layers += len(net.all("layer")) + len(net.all("layers"))
    parsing = time.perf_counter() - start
    start = time.perf_counter()
    findings = sum(len(check_text(text, "net", rules).diagnostics) for text in texts)
    checking = time.perf_counter() - start
    print(
        f"{len(texts)} nets, {layers} layers, {findings} findings: {checking / layers * 1e5:.1f} ms per 100 "
        f"layers (goal 10), {checking / parsing:.1f} x parsing"
    )


if __name__ == "__main__":
    main()
