"""Measures forms in the installed toolchains, and writes protogen/toolchains/measured.csv.

    python tests/toolchains/measure.py [--tools mnn,opencv4] [--only "pooling/*"] [--work FOLDER]

``--work`` keeps the answers of the toolchains, so that an interrupted run goes on; with ``--judge``
they are only compared again. Cells that were not measured stay as they are in the table. The
environments of the toolchains are in $JUDGES, one folder each. All of it takes half an hour of two cores.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import pickle
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from forms import FORMS
from judging import decide, truth_of, verdict
from preparing import Prepared, prepare
from table import TABLE, read, read_versions, write

from protogen.running.toolchain import ADAPTERS, Worker

JUDGES = Path(os.environ.get("JUDGES") or Path.home() / ".cache" / "judges")
# Toolchain: adapter, environment, seconds a net.
TOOLS = {
    "caffe-1.0": ("caffe", "caffe", 30),
    "tpu-caffe": ("caffe", "tpucaffe", 30),
    "opencv4": ("opencv4", "opencv", 30),
    "mnn": ("mnn", "mnn", 30),
    "mindspore-lite": ("mindspore-lite", "mslite", 30),
    "openvino": ("openvino", "openvino", 60),
    "nncase": ("nncase", "nncase", 30),
    "rknn2": ("rknn2", "rknn", 30),
    "tpu-mlir": ("tpu-mlir", "tpumlir", 60),
}


def start(name: str) -> Worker:
    """Return a toolchain, started."""
    adapter, environment, seconds = TOOLS[name]
    python = JUDGES / environment / "bin" / "python"
    worker = Worker(ADAPTERS / f"{adapter}.py", python, seconds=seconds)
    worker.start()
    return worker


def ask(worker: Worker, prepared: Prepared) -> dict[str, Any]:
    """Run a form, and return the answer of the toolchain as plain data."""
    answer = worker.run(prepared.form.net, prepared.caffemodel, prepared.feeds)
    outputs = answer.outputs
    named = isinstance(outputs, dict)
    return {
        "state": answer.state,
        "message": answer.message,
        "log": answer.log,
        "names": list(outputs) if named else None,
        "arrays": list(outputs.values() if named else outputs),
        "digest": prepared.digest,
    }


def run_all(name: str, prepared: list[Prepared], work: Path) -> None:
    """Run forms in a toolchain, and keep its version and its answers in ``work``. A form that it has
    answered there does not run again, unless it has changed."""
    _, answers = stored(name, work)
    left = [one for one in prepared if answers.get(one.form.id, {}).get("digest") != one.digest]
    if not left:
        return
    tool = start(name)
    for count, one in enumerate(left, 1):
        answers[one.form.id] = ask(tool, one)
        if count % 50 == 0 or count == len(left):
            (work / f"{name}.pickle").write_bytes(pickle.dumps((tool.about["version"], answers)))
            print(f"{name}: {count} of {len(left)}", flush=True)
    tool.close()


def stored(name: str, work: Path) -> tuple[str, dict[str, Any]]:
    """Return the version of a toolchain and its answers in ``work``."""
    file = work / f"{name}.pickle"
    if not file.exists():
        return "", {}
    version, answers = pickle.loads(file.read_bytes())
    return version, answers


def judge_all(prepared: list[Prepared], work: Path) -> None:
    """Compare the answers in ``work`` with the truth, and write the table. A cell without an answer
    stays as it is in the table, if the form has the same text there."""
    old = {(row["id"], row["form"]): row for row in read()} if TABLE.exists() else {}
    versions = read_versions() if TABLE.exists() else {}
    answers = {}
    for name in TOOLS:
        version, answers[name] = stored(name, work)
        versions[name] = version or versions.get(name, "")
    rows = {}
    for one in prepared:
        form = one.form
        row = {name: old.get((form.id, form.text), {}).get(name, "") for name in TOOLS}
        replies = {name: answers[name][form.id] for name in TOOLS if form.id in answers[name]}
        if replies:
            caffes = (replies.get(name) for name in ("caffe-1.0", "tpu-caffe"))
            truth, note = decide(one, *(truth_of(one, reply) for reply in caffes))
            if note:
                print(f"{form.id}: {note}")
            if truth is not None:
                row |= {n: verdict(one, truth, n, reply) for n, reply in replies.items()}
        if all(row.values()):
            rows[form.id] = row
        else:
            print(f"{form.id}: not measured in {', '.join(n for n in TOOLS if not row[n])}")
    write(TABLE, {name: versions[name] for name in TOOLS}, [one.form for one in prepared], rows)
    for name in TOOLS:
        counts = Counter(row[name].split()[0] for row in rows.values())
        print(f"{name:16}", ", ".join(f"{count} {word}" for word, count in counts.most_common()))


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tools", default=",".join(TOOLS), help="names, separated by commas")
    parser.add_argument("--only", default="*", help="pattern of ids of forms")
    parser.add_argument("--work", type=Path, help="folder for the answers of the toolchains")
    parser.add_argument("--judge", action="store_true", help="compare the answers in --work only")
    chosen = parser.parse_args()
    work = (chosen.work or Path(tempfile.mkdtemp(prefix="measure-"))).resolve()
    work.mkdir(parents=True, exist_ok=True)
    prepared = [prepare(form) for form in FORMS]
    if not chosen.judge:
        some = [one for one in prepared if fnmatch.fnmatch(one.form.id, chosen.only)]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda name: run_all(name, some, work), chosen.tools.split(",")))
    judge_all(prepared, work)


if __name__ == "__main__":
    main()
