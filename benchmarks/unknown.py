"""Published nets: the layer types, fields and Python layers that protogen does not know, by number of files.

Input: folders of prototxts, by default ``../shared/corpus``. The script prints five tables (types that are
unknown, fields that no layer reads, Python layers without a known meaning, layers that are not converted to ONNX, and nets that are
not loaded), then how many nets load and convert whole. The exit code is 1 if a type, a field
or a Python layer is unknown.

    python benchmarks/unknown.py
    python benchmarks/unknown.py nets/ more/ --files
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import protogen as pg
from protogen.layers.base import kind_of
from protogen.layers.reading import unread
from protogen.net.rules import MissingBlobError
from protogen.onnx.exporter.verdicts import check_caffe

CORPUS = Path(__file__).parent.parent.parent / "shared" / "corpus"
TABLES = ("unknown type", "unread field", "unknown Python layer", "not converted", "not loaded")
NO_NET = "without layers"
Finding = tuple[str, str]  # table, text


def findings(path: Path) -> list[Finding]:
    """Return what protogen does not know of one net, each once."""
    warnings.simplefilter("ignore", pg.ProtogenWarning)
    problem = ""
    for phase in ("TEST", "TRAIN"):
        try:
            net = pg.load(path, phase=phase, tolerant=True)
        except MissingBlobError as error:  # the net may be complete in the other phase only
            problem = problem or _reason(error)
        except pg.ProtogenError as error:
            return [("not loaded", _reason(error))]
        else:
            if not net.layers:  # a solver, a list of labels or another file of this format
                return [(NO_NET, "")]
            return sorted({*_of_net(net), *_refusals(path, phase)})
    return [("not loaded", problem)]


def _of_net(net: pg.Net) -> Iterator[Finding]:
    for layer in net.layers:
        kind = kind_of(layer)
        if kind is None:
            yield "unknown type", layer.type
            continue
        if layer.type == "Python" and type(kind).__name__ == "Python":
            p = layer.params.python_param
            yield "unknown Python layer", f"{p.module}.{p.layer}"
        for field in unread(layer.params, kind):
            known = "" if field.known else " (no known schema has it)"
            value = f" = {field.value}" if field.value else ""
            yield "unread field", f"{layer.type}: {field.path}{value}{known}"


def _refusals(path: Path, phase: str) -> Iterator[Finding]:
    try:
        verdicts = check_caffe(path, phase=phase)
    except pg.ProtogenError as error:
        yield "not converted", f"the net: {_reason(error)}"
        return
    for one in verdicts:
        if one.kind == "refused":
            yield "not converted", f"{one.type}: {re.sub(r'[0-9]+', 'N', one.text)[:120]}"


def _reason(error: pg.ProtogenError) -> str:
    diagnostic = error.diagnostics[0]
    return re.sub(r"[0-9]+", "N", f"{diagnostic.subject}: {diagnostic.problem}"[:120])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", type=Path, default=[CORPUS])
    parser.add_argument("--files", action="store_true", help="name a file of each row")
    arguments = parser.parse_args()
    paths = sorted(
        path
        for folder in arguments.folders
        for path in folder.rglob("*.prototxt")
        if path.is_file()
    )
    where: dict[Finding, list[Path]] = defaultdict(list)
    with ProcessPoolExecutor() as pool:
        for path, rows in zip(paths, pool.map(findings, paths, chunksize=16), strict=True):
            for finding in rows:
                where[finding].append(path)
    for table in TABLES:
        rows = [(len(files), text) for (name, text), files in where.items() if name == table]
        print(f"\n{table}: {len(rows)}")
        for count, text in sorted(rows, key=lambda row: (-row[0], row[1])):
            file = f"   {where[table, text][0]}" if arguments.files else ""
            print(f"{count:6} {text}{file}")
    failed, refused = (
        {path for (name, _), files in where.items() if name in tables for path in files}
        for tables in (TABLES[4:], TABLES[3:])
    )
    nets = len(paths) - len(where.pop((NO_NET, ""), []))
    print(
        f"\n{nets} nets of {len(paths)} files, {nets - len(failed)} loaded, "
        f"{nets - len(refused)} converted whole"
    )
    return int(any(name in TABLES[:3] for name, _ in where))


if __name__ == "__main__":
    sys.exit(main())
