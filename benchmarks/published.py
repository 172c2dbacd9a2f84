"""Published nets with their trained weights: to ONNX and back to Caffe, and both pairs in live Caffe.

The folders are searched for caffemodels. Each is paired with the prototxt of its folder whose layers and
blob shapes fit its weights. The net of the same name is preferred, then the one that leaves fewest
weights unused. A net with data layers (train_val) is not used. The script prints a row for each pair:

- layers of the published net and of the net that came back, without inputs; megabytes of the weights;
- ONNX: the ONNX model in onnxruntime against the net (``convert --verify``); back: the net that came back
  against the ONNX model, every value (``convert --verify``);
- Caffe/ONNX: the ONNX model in onnxruntime against the published pair in Caffe, every output;
  Caffe/back: the pair that came back against the published pair, both in Caffe, every blob that both have;
- right, wrong, refused (by protogen, or the pair is none) or crashed, with the reason; and the seconds.

Errors are relative to the largest magnitude of a blob; the table has the largest of all blobs and inputs.
The inputs in Caffe are random: noise and a smooth picture in the range of pixels without their mean, and
a smooth picture in the range of pixels that are scaled to 1. An input that a layer restricts, such as
regions, has valid values; an input without height and width has normal numbers.

Caffe is the first of ``--with`` that is installed and runs the published pair. If none runs it, Caffe/ONNX
compares the pair that came back with the ONNX model. Toolchains are found as ``protogen try`` finds them
(docs/try.md). Each net runs in a process of its own. The exit code is 1 if a row is wrong or crashed.

    python benchmarks/published.py FOLDER [FOLDER ...] [--input-shape data=1,3,224,224] [--details]
"""

from __future__ import annotations

import argparse
import csv
import io
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from multiprocessing.connection import Connection, wait
from pathlib import Path

from published_case import Row, measure
from published_pairs import LONGEST, Pair, find_pairs
from toolchains import places

import protogen as pg
from protogen.cli.options import shapes
from protogen.errors import InputError
from protogen.formats import files
from protogen.running.trying import Place

TOOLS = "caffe-1.0,tpu-caffe"
LIMIT = 900.0  # seconds of a net
WORDS = ("right", "wrong", "refused", "crashed")
COLUMNS = {
    "layers": "layers",
    "layers_back": "come back",
    "megabytes": "MB",
    "onnx": "ONNX",
    "back": "back",
    "caffe_onnx": "Caffe/ONNX",
    "caffe_back": "Caffe/back",
    "seconds": "s",
}


def in_process(
    one: Pair, chosen: argparse.Namespace, tools: Sequence[Place], work: Path, sender: Connection
) -> None:
    """Send the row of a pair. What is printed goes to a file; an exception ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    with (work / "log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    warnings.simplefilter("ignore", pg.ProtogenWarning)
    sender.send(measure(one, chosen, tools, work))


class Running:
    """A pair in a process of its own."""

    def __init__(self, one: Pair, chosen: argparse.Namespace, tools: Sequence[Place]) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="published-")
        self.name, self.work, self.begin = one.name, Path(self.folder.name), time.monotonic()
        self.receiver, sender = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("fork")
        arguments = one, chosen, tools, self.work, sender
        self.process = context.Process(target=in_process, args=arguments)
        self.process.start()
        sender.close()

    def row(self) -> Row | None:
        """Return the row; None if the pair still runs within its time."""
        seconds = time.monotonic() - self.begin
        if not self.receiver.poll() and seconds < LIMIT:
            return None
        row = Row(self.name).set("crashed", f"no result in {LIMIT:g} s")
        if self.receiver.poll():
            try:
                row = self.receiver.recv()
            except EOFError:
                self.process.join()
                lines = (self.work / "log").read_text(errors="replace").strip().splitlines()
                code = self.process.exitcode or 0
                ended = f"signal {-code}" if code < 0 else f"exit code {code}"
                row.set("crashed", f"{ended}: {lines[-1][:LONGEST] if lines else 'no message'}")
        row.seconds = seconds
        self.end()
        return row

    def end(self) -> None:
        """End the process, and remove its files. The toolchains that it runs end with it."""
        self.process.kill()
        self.process.join()
        self.receiver.close()
        self.folder.cleanup()


def run_all(
    pairs: Sequence[Pair], chosen: argparse.Namespace, tools: Sequence[Place]
) -> Iterator[Row]:
    """Yield the rows in the order in which they are complete."""
    waiting, running = list(reversed(pairs)), list[Running]()
    try:
        while waiting or running:
            while waiting and len(running) < chosen.jobs:
                one = waiting.pop()
                if one.problem:
                    yield Row(one.name).set("refused", one.problem)
                else:
                    running.append(Running(one, chosen, tools))
                    progress(f"{len(pairs) - len(waiting)} of {len(pairs)}: {one.name}")
            wait([one.receiver for one in running], timeout=1)
            for process in list(running):
                if (row := process.row()) is not None:
                    running.remove(process)
                    yield row
    finally:
        progress("")
        for process in running:
            process.end()


def progress(text: str) -> None:
    """Show a text in the last line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def line(row: Row, width: int) -> str:
    """Return a row of the table."""
    cells = []
    for name in COLUMNS:
        value = getattr(row, name)
        form = ".1f" if name in ("megabytes", "seconds") else "d" if "layers" in name else ".1e"
        cells.append(f"{'-' if value is None else format(value, form):>11}")
    end = f"{row.word}: {row.reason}" if row.reason else row.word
    return f"{row.name:{width}}" + "".join(cells) + f"  {end}"


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write all columns; notes are joined by semicolons."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [one.name for one in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(row), "notes": "; ".join(row.notes)} for row in rows)
    with files.replacing(path) as file:
        file.write(text.getvalue().encode())


def arguments() -> argparse.Namespace:
    """Return the options, and end with exit code 2 if one is invalid."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--with", dest="tools", default=TOOLS, help="Caffes, by commas")
    parser.add_argument("--target", metavar="NAME", help="toolchain that the net back is for")
    parser.add_argument(
        "--input-shape",
        dest="input_shapes",
        action="append",
        default=[],
        metavar="[BLOB=]N,C,H,W",
        help="shape of an input, for the nets that have it; repeatable",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs")
    parser.add_argument("--jobs", type=int, default=1, help="pairs at a time")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="file for the rows")
    parser.add_argument("--details", action="store_true", help="print the net, and the toolchain")
    chosen = parser.parse_args()
    for folder in chosen.folders:
        if not folder.is_dir():
            parser.error(f"{folder}: no such folder")
    if chosen.csv and not chosen.csv.absolute().parent.is_dir():
        parser.error(f"--csv: the folder of {chosen.csv} does not exist")
    if chosen.jobs < 1 or chosen.seed < 0:
        parser.error("--jobs must be at least 1, and --seed at least 0")
    try:
        shapes(chosen.input_shapes, lambda: ["data"])
    except InputError as error:
        parser.error(str(error))
    return chosen


def main() -> int:
    """Run the script."""
    chosen = arguments()
    warnings.simplefilter("ignore", pg.ProtogenWarning)
    pairs = list(find_pairs(chosen.folders))
    if not pairs:
        print("no caffemodel in these folders", file=sys.stderr)
        return 2
    tools = places(chosen.tools)
    if not tools:
        print("Caffe is not installed: the columns of Caffe are empty.")
    width = max(len(one.name) for one in pairs) + 2
    print(f"{'':{width}}" + "".join(f"{title:>11}" for title in COLUMNS.values()), flush=True)
    rows: list[Row] = []
    stopped = False
    try:
        for row in run_all(pairs, chosen, tools):
            rows.append(row)
            progress("")
            print(line(row, width), flush=True)
            for note in row.notes if chosen.details else ():
                print(f"    {note}", flush=True)
    except KeyboardInterrupt:
        stopped = True
    counts = Counter(row.word for row in rows)
    print("\n" + ", ".join(f"{counts[word]} {word}" for word in WORDS) + f" of {len(pairs)} nets")
    if stopped:
        print(f"stopped: {len(pairs) - len(rows)} nets are not done")
    for row in rows:
        if row.word != "right":
            print(f"  {row.word}: {row.name}: {row.reason}")
    if chosen.csv:
        write_csv(chosen.csv, rows)
    failed = counts["wrong"] or counts["crashed"]
    return 130 if stopped else int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
