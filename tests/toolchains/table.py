"""The file with the results: protogen/toolchains/measured.csv."""

from __future__ import annotations

import csv
import datetime
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

from forms.building import Form

TABLE = Path(__file__).parents[2] / "protogen" / "toolchains" / "measured.csv"
HEAD = """\
# What toolchains do with small nets: right, wrong, refused, crashed or hung, with a short detail.
# A number after "wrong" is the largest error, relative to the largest right value. An error above
# 0.001 is wrong (rknn2, which computes in float16: 0.02), and so is another shape than Caffe's, apart
# from axes of length 1.
# tests/toolchains/forms has each net; tests/toolchains/measure.py measures them.
"""


def write(
    path: Path,
    versions: Mapping[str, str],
    forms: Iterable[Form],
    rows: Mapping[str, Mapping[str, str]],
) -> None:
    """Write the results of the forms in ``rows``: a verdict for each toolchain."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write(HEAD)
        stream.write(f"# date {datetime.date.today().isoformat()}\n")
        stream.writelines(f"# {name} {version}\n" for name, version in versions.items())
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["id", "type", "form", *versions])
        for form in forms:
            if form.id in rows:
                row = rows[form.id]
                writer.writerow([form.id, form.type, form.text, *(row[name] for name in versions)])


def read_versions(path: Path = TABLE) -> dict[str, str]:
    """Return the version of each toolchain in the table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("# date"))
    heads = itertools.takewhile(lambda line: line.startswith("# "), lines[start + 1 :])
    return dict(line[2:].split(maxsplit=1) for line in heads)


def read(path: Path = TABLE) -> list[dict[str, str]]:
    """Return the rows of the table."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def read_date(path: Path = TABLE) -> str:
    """Return the date of the last measurement."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(line.split()[2] for line in lines if line.startswith("# date"))
