"""What the page shows: the text of a net, its findings, and its report."""

from __future__ import annotations

import itertools
import json
import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protogen.errors import Diagnostic, InputError, Place, ProtogenWarning, UnsupportedError
from protogen.formats import prototxt
from protogen.formats.message import Source
from protogen.geometry import Shape
from protogen.lint.configuration import find
from protogen.lint.context import Settings
from protogen.lint.engine import Checked, check_text, selected
from protogen.lint.rule import Rule
from protogen.lint.rules import SYNTAX, rule_name
from protogen.net.build import Reading
from protogen.net.upgrade import upgrade
from protogen.report.weights import StoredWeights
from protogen.report.write import write_report
from protogen.toolchains.dialects import check_dialect
from protogen.toolchains.toolchain import load_toolchain
from protogen.viewing.watching import Stamps, stamps

LINES = 20_000  # lines of the text that the page shows at most
WIDTH = 2_000  # characters of a line that the page shows at most
SIZE = 4_000_000  # characters of the text that the page shows at most
FINDINGS = 1_000  # findings that the page shows at most
_LAYER = re.compile(r"^[ \t]*layers?\s*:?\s*\{", re.MULTILINE)
_NAME = re.compile(r"""\bname\s*:\s*(["'])(.*?)\1""")


@dataclass(frozen=True, slots=True)
class Content:
    """What the page shows after a reading of the files.

    Attributes:
        version: the number of this reading, from 1.
        drawing: the number of the reading whose net ``report`` shows; 0 without a report.
        report: the report page; empty without one.
        state: everything else, as JSON.
    """

    version: int
    drawing: int
    report: bytes
    state: bytes


class Reader:
    """Reads the files of a net again and again. The weights are read only if their file changed.

    Args:
        path: the prototxt.
        caffemodel: the weights; optional.
        input_shapes: shapes of inputs by name, instead of those of the prototxt.
        reading: phase, level, stages, dialect and so on, as for ``pg.load``.
    """

    def __init__(
        self,
        path: str | Path,
        caffemodel: str | Path | None,
        input_shapes: Mapping[str, Shape] | None,
        reading: Reading,
    ) -> None:
        self.path = Path(path)
        self._caffemodel = caffemodel
        self._input_shapes = dict(input_shapes or {})
        self._reading = reading
        self._weights: StoredWeights | None = None
        self._weights_stamp: Stamps = ()
        self._version = 0
        self._source = Source("", str(path))
        self._drawing, self._report = 0, b""

    @property
    def files(self) -> list[Path]:
        """The files whose changes matter, also those that do not exist yet."""
        folder = self.path.resolve().parent
        settings = [
            above / name
            for above in (folder, *folder.parents)
            for name in ("protogen.toml", "pyproject.toml")
        ]
        weights = [] if self._caffemodel is None else [Path(self._caffemodel)]
        return [self.path, *weights, *settings]

    def read(self, *, first: bool = False) -> Content:
        """Read the files.

        Errors of the net become a part of the content, which then has the last report without an error.

        Raises:
            UnsupportedError: a library is missing, at the first reading.
        """
        self._version += 1
        problems: list[Diagnostic] = []
        findings: list[Diagnostic] = []
        rules, settings = self._configured(problems)
        try:
            self._source = prototxt.source_of(self.path)
            checked = check_text(self._source.text, str(self.path), rules, settings)
            findings = [one for one in checked.diagnostics if one.code != SYNTAX]
            broken = [one for one in checked.diagnostics if one.code == SYNTAX]
            problems += broken or self._draw(checked, settings.dialect)
        except UnsupportedError as error:
            if first:
                raise
            problems.append(error.diagnostic)
        except InputError as error:
            problems.append(error.diagnostic)
        state = self._state(findings, problems)
        return Content(self._version, self._drawing, self._report, state)

    def _configured(self, problems: list[Diagnostic]) -> tuple[list[Rule], Settings]:
        """Return the rules and the settings of the project, or the default ones and a problem."""
        dialect = self._reading.get("dialect", "")
        try:
            project = find(self.path.parent)
            rules = selected(project.select, project.ignore)
            target = load_toolchain(project.target) if project.target else None
            if project.dialect:
                check_dialect(project.dialect)
        except InputError as error:
            problems.append(error.diagnostic)
            return selected(), Settings(dialect=dialect, input_shapes=self._input_shapes)
        dialect = dialect or project.dialect
        return rules, Settings(dialect, target, project.exact, self._input_shapes)

    def _draw(self, checked: Checked, dialect: str) -> list[Diagnostic]:
        """Write the report. Return the problem of the weights, if there is one: then the report has
        none.

        Raises:
            InputError: the net cannot be built.
        """
        reading: Reading = {**self._reading, "dialect": dialect}
        problems = []
        try:
            report = self._written(checked, reading, self._stored())
        except InputError as error:
            if self._caffemodel is None:
                raise
            report = self._written(checked, reading, None)
            problems.append(error.diagnostic)
        self._drawing, self._report = self._version, report
        return problems

    def _stored(self) -> StoredWeights | None:
        """Return the weights; those of the last reading if their file did not change."""
        if self._caffemodel is None:
            return None
        stamp = stamps([Path(self._caffemodel)])
        if self._weights is None or stamp != self._weights_stamp:
            self._weights, self._weights_stamp = StoredWeights(self._caffemodel), stamp
        return self._weights

    def _written(self, checked: Checked, reading: Reading, stored: StoredWeights | None) -> bytes:
        with tempfile.TemporaryDirectory(prefix="protogen.") as folder, warnings.catch_warnings():
            # The findings report the same; a warning after every save would fill the terminal.
            warnings.simplefilter("ignore", ProtogenWarning)
            page = write_report(
                self.path,
                Path(folder, "report.html"),
                stored,
                checked=checked,
                input_shapes=self._input_shapes,
                **reading,
            )
            return page.read_bytes()

    def _state(self, findings: Sequence[Diagnostic], problems: Sequence[Diagnostic]) -> bytes:
        lines = self._source.text.split("\n")
        shown = _shown(lines)
        state = {
            "version": self._version,
            "drawing": self._drawing,
            "current": self._drawing == self._version,
            "name": self.path.name,
            "lines": shown,
            "lines_left": len(lines) - len(shown),
            "layers": layers_of(self._source),
            "findings": [_finding(one) for one in findings[:FINDINGS]],
            "findings_left": max(0, len(findings) - FINDINGS),
            "problems": [self._problem(one) for one in problems],
        }
        return json.dumps(state, separators=(",", ":")).encode()

    def _problem(self, one: Diagnostic) -> dict[str, Any]:
        here = one.place.file == str(self.path)
        return {
            "text": str(one._replace(lines=())),
            "line": one.place.line if here else 0,
            "column": one.place.column if here else 0,
        }


def _shown(lines: Sequence[str]) -> list[str]:
    """Return the lines that the page shows, shortened: a file may be much larger than any net."""
    shown: list[str] = []
    size = 0
    for line in lines[:LINES]:
        short = line.rstrip("\r")[:WIDTH]
        size += len(short)
        if size > SIZE:
            break
        shown.append(short)
    return shown


def _finding(one: Diagnostic) -> dict[str, Any]:
    return {
        "code": one.code,
        "name": rule_name(one.code),
        "severity": one.severity,
        "text": one.message,
        "layer": one.layer,
        "line": one.place.line,
        "column": one.place.column,
    }


def layers_of(source: Source) -> list[dict[str, Any]]:
    """Return name, first line, column and last line of each layer in the text, of every phase.

    The layers of a text with a syntax error are those that its lines seem to begin.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ProtogenWarning)
            net = upgrade(prototxt.parse(source.text, source.filename))
    except InputError:
        return _seeming_layers(source)
    rows = []
    for item in net.all("layer"):
        place = source.place(item.start, item.end)
        if place.line:
            rows.append(_row(str(item.value.name), source, place))
    return rows


def _row(name: str, source: Source, place: Place) -> dict[str, Any]:
    last = source.position(max(place.end - 1, place.start))[0]
    return {"name": name, "line": place.line, "column": place.column, "last": last}


def _seeming_layers(source: Source) -> list[dict[str, Any]]:
    starts = [match.start() for match in _LAYER.finditer(source.text)]
    rows = []
    for start, end in itertools.pairwise([*starts, len(source.text)]):
        text = source.text[start:end]
        name = _NAME.search(text)
        if name:
            start += len(text) - len(text.lstrip())
            end = start + len(text.strip())
            rows.append(_row(name[2], source, source.place(start, end)))
    return rows
