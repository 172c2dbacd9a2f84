"""Runs a net in toolchains, and compares what they compute with what protogen computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from protogen._late import Shown
from protogen.errors import InputError, ProtogenError
from protogen.net.net import Net, load, unassuming
from protogen.running import environments
from protogen.running.cutting import Cutter, is_empty
from protogen.running.drawing import random_inputs, wanted_inputs
from protogen.running.matching import compare
from protogen.running.runtime import check_room, run
from protogen.running.toolchain import SECONDS, Answer, StartError, Worker
from protogen.running.words import telling
from protogen.toolchains.toolchain import names

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from protogen.geometry import Shape
    from protogen.toolchains.toolchain import Toolchain

    Arrays = Mapping[str, NDArray[Any]]

LOG = 4000  # characters of what a toolchain printed, in JSON
MOST_RUNS = 12  # of the search for the first layer

Outcome = Literal["right", "wrong", "refused", "crashed", "hung", "missing"]


@dataclass(frozen=True, repr=False)
class Trial(Shown):
    """What a toolchain did with a net.

    Attributes:
        toolchain: its name.
        version: what the toolchain says about itself, or the release of its data file.
        python: the Python of its environment.
        outcome: "right", "wrong", "refused", "crashed" or "hung"; "missing" if a module is not
            installed there.
        error: the largest error of an output, relative to its largest magnitude; None if it has none.
        blob: the first output that differs.
        problem: how it differs, or why the toolchain cannot be started.
        layer: the first layer that differs or is refused; empty if it was not searched, or not found.
        type: the type of this layer.
        words: the toolchain's own words, shortened.
        note: why no layer is named; or, if the numbers are right, which shapes differ by axes of length 1.
        seconds: how long the net took.
        log: what the toolchain printed: its beginning and its end.
    """

    toolchain: str
    version: str
    python: str
    outcome: Outcome
    error: float | None = None
    blob: str = ""
    problem: str = ""
    layer: str = ""
    type: str = ""
    words: str = ""
    note: str = ""
    seconds: float = 0.0
    log: str = ""

    @property
    def right(self) -> bool:
        """Whether the toolchain computes what protogen computes."""
        return self.outcome == "right"

    @property
    def detail(self) -> str:
        """What is wrong, in the toolchain's own words if it has any; empty if nothing is."""
        text = f'"{self.blob}" {self.problem}' if self.blob else self.problem
        words = "" if self.words == text else self.words
        return "; ".join(filter(None, (text, words, self.note)))

    def plain(self) -> dict[str, Any]:
        """Return the result as data for JSON."""
        return {**asdict(self), "log": "" if self.right else self.log[-LOG:]}


@dataclass(frozen=True)
class Place:
    """A toolchain that can be run: its data, its adapter, and the Python of its environment."""

    data: Toolchain
    adapter: Path
    python: Path


class Truth:
    """A net, its inputs, and what protogen computes.

    Args:
        net: the net, with the shapes of the inputs.
        feeds: an array for each input.
        cutter: cuts the files of the net.
    """

    def __init__(self, net: Net, feeds: Arrays, cutter: Cutter) -> None:
        self.net, self.feeds, self.cutter = net, feeds, cutter
        self.outputs = run(net, feeds)
        if not self.outputs:
            raise InputError("the net computes no output", advice="Add a layer.")

    @cached_property
    def blobs(self) -> dict[str, NDArray[Any]]:
        """Every blob that a layer computes, by name, in the order in which they are complete. Without
        those that an in-place layer changes through a view."""
        writers = {top: x.writes[i] for x in self.net.layers for i, top in enumerate(x.tops)}
        changed = self.net.overwritten[0]
        order = list(dict.fromkeys(top for x in reversed(self.net.layers) for top in x.tops))
        names = [
            top
            for top in reversed(order)
            if writers[top] not in changed and writers[top] not in self.net.inputs
        ]
        return run(self.net, self.feeds, names)


def try_net(
    prototxt: str | Path,
    caffemodel: str | Path | None = None,
    toolchains: Sequence[str | Path] = (),
    *,
    pythons: Mapping[str, str | Path] | None = None,
    feeds: Arrays | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
    seed: int = 0,
    tolerance: float | None = None,
    seconds: float = SECONDS,
    search: bool = True,
    progress: Callable[[str], None] | None = None,
    **reading: Any,
) -> list[Trial]:
    """Convert and run a net in toolchains, and compare every output with what protogen computes.

    Each toolchain runs in the Python of its own environment, in a process with a limit of time. If it
    does not compute what protogen computes, the first layer that differs or is refused is searched: by
    every blob if the toolchain gives them, otherwise by the first layers of the net alone.

    Args:
        prototxt: the net, in any format.
        caffemodel: its weights.
        toolchains: names of toolchains, adapters (.py) or data files (.toml) of your own; by default those
            of the project's settings, or all that are installed.
        pythons: the Python of a toolchain's environment by its name, where it is not found by itself.
        feeds: arrays by input name; the other inputs are random.
        input_shapes: shapes by input name.
        seed: the seed of the random inputs.
        tolerance: the largest error relative to a blob's largest magnitude; by default that of each
            toolchain.
        seconds: the limit of time for the start of a toolchain, for the net, and for the search.
        search: whether to search the first layer.
        progress: is called with a text before each toolchain, and before each run of the search.
        reading: other options of ``load``, such as dialect.

    Raises:
        InputError: a file is invalid, or a toolchain is unknown, has no adapter, or is not installed.
        UnsupportedError: protogen cannot run the net.
    """
    places = find(prototxt, toolchains, pythons or {})
    truth = _truth(prototxt, caffemodel, feeds or {}, input_shapes or {}, seed, reading)
    return [
        _try(place, truth, tolerance, seconds, search, progress or (lambda text: None))
        for place in places
    ]


def find(
    prototxt: str | Path, toolchains: Sequence[str | Path], pythons: Mapping[str, str | Path]
) -> list[Place]:
    """Return the toolchains to try, each with its adapter and its Python.

    Raises:
        InputError: a toolchain is unknown, has no adapter, or is not installed, or none is installed.
    """
    settings = environments.settings(Path(prototxt).parent)
    data = [environments.toolchain(name) for name in dict.fromkeys(toolchains or settings.names)]
    known = {one.name for one in data} if data else set(names())
    for name in pythons:
        if name not in known:
            raise InputError(f"{name!r} is not a toolchain to try", subject="--python")
    pairs: list[tuple[Toolchain, Path]] = []
    for one in data:
        if environments.adapter(one) is None:
            raise InputError(
                f"protogen has no adapter for {one.name}",
                subject="--with",
                advice="Write one: docs/try.md describes how.",
            )
        python = environments.find(one, pythons, settings)
        if python is None:
            raise InputError(
                f"{one.name} is not installed: this Python does not have it, and there is no "
                f"{environments.folder() / one.name}",
                advice=f"Name its Python with --python {one.name}=PATH, or see "
                f"'protogen try --how {one.name}'.",
            )
        pairs.append((one, python))
    if not data:
        pairs = list(environments.installed(pythons, settings))
    if not pairs:
        raise InputError(
            "no toolchain is installed",
            advice="'protogen try --how mnn' prints the commands that install one; "
            "'protogen targets' lists them.",
        )
    adapters = [(one, environments.adapter(one), python) for one, python in pairs]
    return [Place(one, path, python) for one, path, python in adapters if path is not None]


def _truth(
    prototxt: str | Path,
    caffemodel: str | Path | None,
    feeds: Arrays,
    input_shapes: Mapping[str, Shape],
    seed: int,
    reading: Mapping[str, Any],
) -> Truth:
    """Load the net and run it in protogen."""
    with unassuming():  # the shapes of the arrays replace assumed shapes
        net = load(prototxt, None if is_empty(caffemodel) else caffemodel, **reading)
        for name in (*feeds, *input_shapes):
            if name not in net.inputs:
                known = ", ".join(net.inputs) or "none"
                raise InputError(f"unknown input (inputs: {known})", subject=f'"{name}"')
        shapes = {**input_shapes, **{name: tuple(array.shape) for name, array in feeds.items()}}
        if any(net.graph.shapes[name] != shape for name, shape in shapes.items()):
            net = net.with_inputs(shapes)
    net.tell_assumed()
    missing: dict[str, Shape] = {}
    for name in net.inputs:
        shape = net.graph.shapes[name]
        if shape is None:
            advice = f"Give it with --input-shape {name}=N,C,H,W."
            raise InputError("unknown shape", subject=f'input "{name}"', advice=advice)
        if name not in feeds:
            missing[name] = shape
    check_room(net.graph)
    wanted = wanted_inputs(net.graph, seed) if missing else {}
    arrays = random_inputs(missing, seed, wanted) | dict(feeds)
    ordered = {name: arrays[name] for name in net.inputs}
    return Truth(net, ordered, Cutter(prototxt, caffemodel, net, reading))


def _try(
    place: Place,
    truth: Truth,
    tolerance: float | None,
    seconds: float,
    search: bool,
    progress: Callable[[str], None],
) -> Trial:
    """Run the net in one toolchain, and search the first layer if it is not right."""
    name = place.data.name
    trial = Trial(name, place.data.version, str(place.python), "right")
    progress(name)
    with Worker(place.adapter, place.python, seconds=seconds) as worker:
        try:
            about = worker.start()
        except StartError as error:
            problem = f"cannot be loaded: {error.diagnostic.problem}"
            words = telling("", error.log) if error.state != "missing" else ""
            return replace(trial, outcome=error.state, problem=problem, words=words)
        trial = replace(trial, version=str(about["version"]))
        patterns = [str(pattern) for pattern in about.get("words") or ()]
        limit = place.data.tolerance if tolerance is None else tolerance
        search_ = _Search(worker, truth, limit, seconds, lambda text: progress(f"{name}: {text}"))
        trial, answer = _trial(trial, search_, patterns)
        if trial.right or not search:
            return trial
        if trial.outcome == "hung":
            return replace(trial, note="not searched, because the net hangs")
        layer, note = search_.first_layer(answer)
        return replace(trial, layer=layer, type=truth.cutter.types.get(layer, ""), note=note)


def _trial(trial: Trial, search: _Search, patterns: Sequence[str]) -> tuple[Trial, Answer]:
    """Run the whole net, and return the trial with its outcome."""
    truth = search.truth
    weights = truth.cutter.weights(truth.net)
    answer = search.worker.run(truth.cutter.text(), weights, truth.feeds)
    trial = replace(trial, seconds=answer.seconds, log=answer.log)
    if answer.state == "hung":
        problem = f"did not end in {search.seconds:g} s"
        return replace(trial, outcome="hung", problem=problem), answer
    if answer.state != "ran":
        words = telling(answer.message, answer.log, patterns)
        problem = answer.message if answer.state == "crashed" else ""
        return replace(trial, outcome=answer.state, problem=problem, words=words), answer
    rows = compare(truth.outputs, answer.outputs, truth.net.graph, search.tolerance)
    errors = [row.error for row in rows if row.error is not None]
    bad = next((row for row in rows if row.problem), None)
    trial = replace(trial, error=max(errors, default=None))
    if bad is None:
        notes = [f'"{row.blob}" {row.note}' for row in rows if row.note]
        return replace(trial, note="; ".join(notes)), answer
    return replace(trial, outcome="wrong", blob=bad.blob, problem=bad.problem), answer


class _NoTimeError(Exception):
    """The time of the search has ended."""


class _Search:
    """Searches the first layer that a toolchain refuses or computes wrongly."""

    def __init__(
        self,
        worker: Worker,
        truth: Truth,
        tolerance: float,
        seconds: float,
        progress: Callable[[str], None],
    ) -> None:
        self.worker, self.truth, self.tolerance = worker, truth, tolerance
        self.seconds, self.progress = seconds, progress
        self.runs, self.until = 0, 0.0

    def first_layer(self, answer: Answer) -> tuple[str, str]:
        """Return the name of the layer, and a note if there is none."""
        self.until = time.monotonic() + self.seconds
        cutter = self.truth.cutter
        try:
            first, last = self._by_blobs(answer) or (1, cutter.count)
            while first < last:
                middle = (first + last) // 2
                if self._fails(middle, answer.state):
                    last = middle
                else:
                    first = middle + 1
        except _NoTimeError as error:
            return "", f"not searched to the end: {error}"
        except ProtogenError as error:
            return "", f"not searched: protogen cannot run a part of the net ({error})"
        return cutter.name(last), ""

    def _by_blobs(self, answer: Answer) -> tuple[int, int] | None:
        """Return the first and the last layer that may be the first wrong one, if the toolchain gives
        inner blobs and one of them differs."""
        if not isinstance(answer.outputs, dict):
            return None
        blobs, cutter = self.truth.blobs, self.truth.cutter
        shown = {name: a for name, a in answer.outputs.items() if name in blobs}
        if not shown.keys() - self.truth.outputs.keys():
            return None
        number: dict[str, int] = {}  # of the last layer that writes a blob
        for count in range(1, cutter.count + 1):
            number |= dict.fromkeys(cutter.tops(count), count)
        first = 1
        for name in sorted(
            (n for n in blobs if n in shown and n in number), key=number.__getitem__
        ):
            rows = compare(
                {name: blobs[name]}, {name: shown[name]}, self.truth.net.graph, self.tolerance
            )
            if rows[0].problem:
                return first, number[name]
            first = number[name] + 1
        return None

    def _fails(self, count: int, state: str) -> bool:
        """Return whether the first layers of the net end as the whole net does: in the same ``state``, or
        wrong. A part of a net may fail in a way of its own."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise _NoTimeError(f"it took more than {self.seconds:g} s")
        if self.runs >= MOST_RUNS:
            raise _NoTimeError(f"it took more than {MOST_RUNS} runs")
        truth = self.truth
        net = truth.cutter.part(count)
        if set(net.outputs) <= set(net.inputs):
            return False  # inputs only
        feeds = {name: truth.feeds[name] for name in net.inputs}
        expected = run(net, feeds)
        self.runs += 1
        self.progress(f"search of the first layer, run {self.runs}")
        weights = truth.cutter.weights(net)
        answer = self.worker.run(truth.cutter.text(count), weights, feeds, seconds=left)
        if state != "ran":
            return answer.state == state
        if answer.state != "ran":
            return True
        rows = compare(expected, answer.outputs, net.graph, self.tolerance)
        return any(row.problem for row in rows)
