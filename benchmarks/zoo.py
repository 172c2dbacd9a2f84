"""Nets of PyTorch converted to Caffe, and run in toolchains: the data and the page docs/zoo.md.

Every net of ``zoo_nets.py`` is converted with ``pg.from_torch``'s steps and compared with the module. It
is then written for each toolchain, compared again, and run there (``protogen try``) on the same input.
The script stores for each net:

- layers and tops of the net for BVLC Caffe, without Input and Parameter;
- multiply-adds and memory of all blobs, as ratios to the exported ONNX model (see ``imported.py``);
- the largest error of all values compared with the module, relative to the value's largest magnitude;
- for each toolchain: right, wrong, refused, crashed or hung, or "not written" if protogen refuses to write
  the net for it, with the reason; "float16" if a toolchain that computes in float16 differs by more than
  its tolerance, but by no more than PyTorch's own run of the module in float16, or if the first layer that
  differs is right by itself.

For toolchains that compute in float16 the statistics of the BatchNorms are fitted to random data: with those
of a new module the values of a deep net are smaller than float16 can hold.

Each net runs in a process of its own. The data is written after each net; a run that was stopped goes on
where it was, and ``--again`` begins anew. Toolchains are found as ``protogen try`` finds them
(docs/try.md); one that is not installed keeps the results of its last run.

    pip install 'protogen[zoo]'
    python benchmarks/zoo.py [--nets "yolo*"] [--with mnn,rknn2] [--jobs 2] [--again]
    python benchmarks/zoo.py --only-page
"""

from __future__ import annotations

import argparse
import copy
import fnmatch
import json
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_page import page

import protogen as pg
from protogen.errors import InputError, ProtogenError
from protogen.formats import files
from protogen.running.trying import find
from protogen.toolchains.toolchain import load_toolchain

if TYPE_CHECKING:
    from zoo_nets import ZooNet

    from protogen.pytorch.steps import Source, Task

ROOT = Path(__file__).parents[1]
DATA, PAGE = ROOT / "benchmarks" / "zoo.json", ROOT / "docs" / "zoo.md"
TOOLS = "caffe-1.0,tpu-caffe,mnn,mindspore-lite,opencv4,openvino,nncase,tpu-mlir,rknn2"
HALF = ("rknn2",)  # compute in float16
SECONDS = 300  # for a toolchain and a net; compilers are slow
NET_SECONDS = 7200  # for a net in all toolchains


def converted(net: ZooNet) -> tuple[Task, Source, dict[str, Any]]:
    """Convert a net for BVLC Caffe and compare it with the module.

    Raises:
        ProtogenError: no exporter and no import could convert it.
    """
    from sizes import groups, net_size, source_size, total

    from protogen.onnx.importer.source import read_source
    from protogen.pytorch.dependence import check_independent
    from protogen.pytorch.examples import examples_of
    from protogen.pytorch.exporting import EXPORTERS
    from protogen.pytorch.steps import Form, Task

    module, inputs = net.build()
    task = Task(module, examples_of(module, inputs, ()))
    keys = task.returned()
    check_independent(module, task.examples)
    failures: dict[str, ProtogenError] = {}
    for exporter in EXPORTERS:
        try:
            source = task.exported(exporter, keys)
            unproved = task.imported(source, Form(ends=net.ends))
            proved = task.proved(unproved, failures, 0, 1e-4)
        except ProtogenError as error:
            failures[exporter] = error
            continue
        model = read_source(source.exported.model, outputs=unproved.ends)
        whole = source_size(model, groups(model, unproved.imported.source.operators))
        own = net_size(unproved.imported)
        data = {
            "layers": own.nodes,
            "tops": own.values,
            "multiply_adds": total(own.products),
            "products": total(own.products) / max(1, total(whole.products)),
            "memory": total(own.memory) / max(1, total(whole.memory)),
            "error": proved.checked.worst,
            "compared": len(proved.checked.rows),
            "unproved": len(proved.checked.unproved),
            "exporter": exporter,
        }
        return task, source, data
    raise next(iter(failures.values()))


def tried(
    net: ZooNet, task: Task, source: Source, tools: list[str], folder: Path
) -> dict[str, dict[str, Any]]:
    """Write the net for each toolchain, compare it with the module, and run it in the toolchain."""
    from protogen.pytorch.steps import Form

    answers: dict[str, dict[str, Any]] = {}
    for tool in tools:
        begin = time.perf_counter()
        try:
            unproved = task.imported(source, Form(target=tool, ends=net.ends))
            proved = task.proved(unproved, {}, 0, 1e-4)
            paths = [str(one) for one in proved.save(folder / tool)]
        except ProtogenError as error:
            answers[tool] = {"word": "not written", "detail": " ".join(str(error).split())}
            continue
        feeds = task.examples.arrays()
        try:
            (trial,) = pg.try_net(
                *paths[:2], toolchains=[tool], feeds=feeds, seconds=SECONDS, search=False
            )
        except ProtogenError as error:
            answers[tool] = {"word": "not run", "detail": " ".join(str(error).split())}
            continue
        word: str = trial.outcome
        if word == "wrong" and tool in HALF and trial.error is not None:
            rounding = half_error(net, task)
            if (rounding is not None and trial.error <= rounding) or only_rounding(
                paths[:2], tool, feeds
            ):
                word = "float16"
        # A toolchain without Silence gets each top that is not read as a further output.
        unread = trial.problem == "is missing" and trial.blob not in proved.outputs
        limit = load_toolchain(tool).tolerance
        if word == "wrong" and unread and trial.error is not None and trial.error <= limit:
            word = "right"
        answers[tool] = {
            "word": word,
            "error": trial.error,
            "detail": trial.detail[:300],
            "seconds": round(time.perf_counter() - begin, 1),
        }
        for path in paths:
            Path(path).unlink()
    return answers


def half_error(net: ZooNet, task: Task) -> float | None:
    """Return the largest error of PyTorch's own run of the module in float16, relative to each output's
    largest magnitude; None if PyTorch cannot run it."""
    import torch

    from protogen.pytorch.examples import outputs_of

    def run(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        results: list[torch.Tensor] = []
        handles = [
            module.get_submodule(path).register_forward_hook(
                lambda _, __, result: results.append(result.float())
            )
            for path in net.ends
        ]
        with torch.no_grad():
            whole = [one.float() for one in outputs_of(module(*args)).values()]
        for handle in handles:
            handle.remove()
        return results or whole

    exact = run(task.module, task.examples.args)
    try:
        half = run(copy.deepcopy(task.module).half(), tuple(x.half() for x in task.examples.args))
    except RuntimeError:  # an operator without float16, or two types in one operator
        return None
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(exact, half, strict=True))


def only_rounding(paths: list[str], tool: str, feeds: Any) -> bool:
    """Return whether a toolchain that computes in float16 has every layer right: the first layer that
    differs by more than the tolerance is right by itself, so that the roundings of the layers before it
    are the reason."""
    (trial,) = pg.try_net(*paths, toolchains=[tool], feeds=feeds, seconds=SECONDS, search=True)
    if not trial.layer:
        return False
    net = pg.load(*paths, dialect=load_toolchain(tool).schema.dialect)
    tops = next(one for one in net.layers if one.name == trial.layer).tops
    # Layers in place belong to the layer whose top they change.
    layer = next(one for one in net.layers if set(one.tops) & set(tops))
    with tempfile.TemporaryDirectory() as folder:
        part = [str(Path(folder) / name) for name in ("part.prototxt", "part.caffemodel")]
        pg.cut_file(*paths, *part, inputs=layer.bottoms, outputs=tops)
        pg.rewrite_for(tool, *part).save(*part)
        (alone,) = pg.try_net(*part, toolchains=[tool], seconds=SECONDS, search=False)
    return bool(alone.outcome == "right")


def measure(name: str, tools: list[str], target: Path) -> None:
    """Convert and run one net, and write the results as JSON."""
    from zoo_nets import zoo

    warnings.simplefilter("ignore")
    net = next(one for one in zoo() if one.name == name)
    data: dict[str, Any] = {"group": net.group, "ends": list(net.ends), "tried": net.tried}
    begin = time.perf_counter()
    try:
        task, source, sizes = converted(net)
        data |= sizes | {"seconds": round(time.perf_counter() - begin, 1)}
    except ProtogenError as error:
        data["refused"] = " ".join(str(error).split())
    else:
        data["tools"] = {}
        for chosen in (
            [tool for tool in tools if tool not in HALF],
            [tool for tool in tools if tool in HALF],
        ):
            if net.tried and chosen:
                if chosen[0] in HALF and (fitted := net.fitted()) is not None:
                    task, source, _ = converted(fitted)
                with tempfile.TemporaryDirectory() as folder:
                    data["tools"] |= tried(net, task, source, chosen, Path(folder))
    target.write_text(json.dumps(data), encoding="utf-8")


def measured(name: str, tools: list[str]) -> dict[str, Any]:
    """Run ``measure`` in a process of its own and return the results."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "net.json"
        command = [sys.executable, __file__, "--one", name, "--with", ",".join(tools)]
        try:
            process = subprocess.run(
                [*command, "--out", str(target)],
                capture_output=True,
                text=True,
                timeout=NET_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"refused": f"not finished in {NET_SECONDS} s"}
        if not target.exists():
            last = (process.stderr.strip().splitlines() or ["no message"])[-1]
            return {"refused": f"the process ended with code {process.returncode}: {last}"}
        data: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        return data


def write(data: dict[str, Any]) -> None:
    """Write the data and the page."""
    text = json.dumps(data, indent=1, sort_keys=True) + "\n"
    for path, content in ((DATA, text), (PAGE, page(data))):
        with files.replacing(path) as file:
            file.write(content.encode())


def run(chosen: argparse.Namespace) -> None:
    """Measure the nets that are missing in the data, or all."""
    import torch
    import torchvision
    from zoo_nets import zoo

    data = {"nets": {}, "tools": {}}
    if DATA.exists():
        data = json.loads(DATA.read_text(encoding="utf-8"))
    data["versions"] = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    tools = []
    for tool in filter(None, chosen.tools.split(",")):
        try:
            (place,) = find(ROOT / "net.prototxt", [tool], {})
            data["tools"][tool] = place.data.version
            tools.append(tool)
        except InputError as error:
            print(f"left out: {error}")
    nets = [one for one in zoo() if fnmatch.fnmatch(one.name, chosen.nets)]
    work = {}
    for net in nets:
        old = data["nets"].get(net.name, {})
        known = old.get("tools", {})
        missing = [tool for tool in tools if net.tried and (chosen.again or tool not in known)]
        if chosen.again or missing or not old:
            work[net.name] = missing
    with ThreadPoolExecutor(chosen.jobs) as pool:
        futures = {pool.submit(measured, name, missing): name for name, missing in work.items()}
        for count, future in enumerate(as_completed(futures), 1):
            name, fresh = futures[future], future.result()
            old = data["nets"].get(name, {})
            fresh["tools"] = {**old.get("tools", {}), **fresh.get("tools", {})}
            data["nets"][name] = fresh
            write(data)
            words = " ".join(f"{k} {v['word']}" for k, v in fresh["tools"].items())
            text = fresh.get("refused", f"{fresh.get('layers')} layers, {words}")
            print(f"{count}/{len(work)} {name}: {text}", flush=True)
    write(data)


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nets", default="*", metavar="PATTERN", help="names of the nets")
    parser.add_argument("--with", dest="tools", default=TOOLS, help="toolchains, by commas")
    parser.add_argument("--jobs", type=int, default=1, help="nets at a time")
    parser.add_argument("--again", action="store_true", help="measure again what is known")
    parser.add_argument("--only-page", action="store_true", help="write the page from the data")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        measure(chosen.one, [one for one in chosen.tools.split(",") if one], chosen.out)
    elif chosen.only_page:
        write(json.loads(DATA.read_text(encoding="utf-8")))
    else:
        run(chosen)


if __name__ == "__main__":
    main()
