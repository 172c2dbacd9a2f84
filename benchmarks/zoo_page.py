"""The page docs/zoo.md, written from the data of ``zoo.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

WORDS = ("right", "float16", "wrong", "refused", "crashed", "hung", "not written", "not run")
SIGNS = {"right": "✓", "not written": "not written"}

HEAD = """# The zoo

Nets of PyTorch with random weights, converted by `pg.from_torch` (see [PyTorch](pytorch.md)) and run in
toolchains. One command writes this page: `python benchmarks/zoo.py`. The nets were exported by PyTorch
{torch} with torchvision {torchvision}.

- **Layers** and **tops**: of the net for BVLC Caffe, without inputs and constants.
- **Products**: multiply-adds, as a ratio to those of the exported ONNX model; **memory**: the same for the
  bytes of all blobs.
- **Error**: the largest error of all values that were compared with the module, relative to the largest
  magnitude of the value. All of them are below the tolerance of 0.0001; a net with a larger error would
  not be written.
- A detector whose head is cut ends at the parts that are named below the table.
"""

TOOLS_HEAD = """## In the toolchains

Each net was written for the toolchain (`target=`), compared with the module again, and run there by
`protogen try`. ✓ is right: every output is within the tolerance of the toolchain. "float16": the toolchain
computes in float16 and differs by more than its tolerance, but by no more than PyTorch's own run of the
module in float16; or the first layer that differs is right by itself, so that the roundings of the layers
before it are the reason. For such toolchains the statistics of the
BatchNorms were fitted to random data, because the values of a deep net with those of a new module are smaller
than float16 can hold. "refused": the toolchain does not take the net; "not written":
protogen knows no form of a layer that the toolchain takes, or the form is not exact enough for the small values
of this net, and says so before anything is written. An empty cell was not run. Of torchvision's nets that
differ in depth or width only, the smallest was run.
"""


def page(data: Mapping[str, Any]) -> str:
    """Return the page."""
    nets, versions = data["nets"], data["versions"]
    groups: dict[str, list[str]] = {}
    for name, net in nets.items():
        groups.setdefault(net.get("group", "Others"), []).append(name)
    lines = [HEAD.format(**versions)]
    for group in sorted(groups, key=lambda one: (not one.startswith("Small"), one)):
        lines += [f"## {group}", "", *table(nets, sorted(groups[group])), ""]
    lines += [TOOLS_HEAD, *tools_table(data), "", *reasons(data)]
    return "\n".join(lines).rstrip() + "\n"


def table(nets: Mapping[str, Any], names: list[str]) -> Iterator[str]:
    """Yield the lines of a table of sizes and errors, then a line for each net that was refused or cut."""
    yield "| net | layers | tops | multiply-adds | products | memory | error | values compared |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    notes = []
    for name in names:
        net = nets[name]
        if "refused" in net:
            yield f"| {name} | | | | | | | |"
            notes.append(f"- {name} is not converted: {plain(net['refused'])}")
            continue
        compared = str(net["compared"])
        if net["unproved"]:
            compared += f" ({net['unproved']} unproved)"
        yield (
            f"| {name} | {net['layers']} | {net['tops']} | {net['multiply_adds'] / 1e6:,.0f} M | "
            f"{net['products']:.2f} | {net['memory']:.2f} | {net['error']:.1e} | {compared} |"
        )
        if net["ends"]:
            notes.append(f"- {name} ends at `{'`, `'.join(net['ends'])}`.")
    yield from ["", *notes] if notes else ()


def tools_table(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of toolchains, with the number of nets for each result."""
    tools, nets = data["tools"], data["nets"]
    rows = {name: net["tools"] for name, net in sorted(nets.items()) if net.get("tools")}
    yield f"| net | {' | '.join(tools)} |"
    yield f"|---|{'---|' * len(tools)}"
    counts = {
        tool: Counter(row[tool]["word"] for row in rows.values() if tool in row) for tool in tools
    }
    for name, row in rows.items():
        words = [row[tool]["word"] if tool in row else "" for tool in tools]
        yield f"| {name} | {' | '.join(SIGNS.get(word, word) for word in words)} |"
    for word in WORDS:
        if any(counts[tool][word] for tool in tools):
            yield f"| **{word}** | {' | '.join(f'**{counts[tool][word]}**' for tool in tools)} |"
    versions = ", ".join(f"{tool} {version}" for tool, version in tools.items())
    yield from ("", f"Releases: {versions}.")


def reasons(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield why nets are not right, once for nets with the same reason."""
    nets = data["nets"]
    texts: dict[tuple[str, str, str], list[str]] = {}
    for name, net in sorted(nets.items()):
        for tool, answer in net.get("tools", {}).items():
            if answer["word"] not in ("right", "float16"):
                text = answer.get("detail") or "no reason is known"
                texts.setdefault((tool, answer["word"], text), []).append(name)
    if texts:
        yield from ("### Why a net is not right", "", "| toolchain | nets | result | reason |")
        yield "|---|---|---|---|"
    for (tool, word, text), names in sorted(texts.items()):
        yield f"| {tool} | {', '.join(names)} | {word} | {plain(text)} |"


def plain(text: str) -> str:
    """Return a text for a cell of a table."""
    short = " ".join(text.split())
    short = short if len(short) <= 240 else f"{short[:237]}..."
    return short.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")
