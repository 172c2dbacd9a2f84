"""``pg.write_report``: size and time of pages, compared with loading the net alone.

Input: known nets of ``../shared/corpus`` if present, and chains of 1,000 and 5,000 layers. Goals: below
1 MB for ResNet-152, and time linear in the number of layers.

    python benchmarks/report.py
"""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

from caffe_nets import chain

import protogen as pg

CORPUS = Path(__file__).parent.parent.parent / "shared" / "corpus"
NETS = ("*googlenet__deploy*", "*ResNet-152-deploy*", "*ssd_lite__deploy*", "*hed__deploy*")


def seconds(call: object) -> float:
    """Return the seconds of one call."""
    assert callable(call)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    warnings.simplefilter("ignore", pg.ProtogenWarning)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.html")
        paths = [path for name in NETS for path in sorted(CORPUS.rglob(f"{name}.prototxt"))[:1]]
        for count in (1000, 5000):
            path = Path(folder, f"chain_{count}.prototxt")
            path.write_text(chain(count))
            paths.append(path)
        pg.write_report(paths[0], page)  # imports modules
        for path in paths:
            layers = len(pg.load(path, tolerant=True).layers)
            load_time = seconds(lambda path=path: pg.load(path, tolerant=True))
            report_time = seconds(lambda path=path: pg.write_report(path, page))
            print(f"{path.name}: {layers} layers, {page.stat().st_size / 1e6:.2f} MB, {report_time:.2f} s, "
                  f"{report_time / load_time:.1f} x load, {report_time / layers * 1e3:.2f} ms per layer")  # fmt: skip


if __name__ == "__main__":
    main()
