"""Runs many examples of each layer type in protogen and in real Caffe, and prints the figures.

    python tests/truth/measure.py --examples 1000 [TYPE...]

The tests stop at the first difference; this counts all and shows a few of each kind.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).parent))

from comparing import asked, compare
from drawing import SPECS, Drawn, one_layer


def measure(type_: str, examples: int, names: tuple[str, ...]) -> tuple[Counter[str], dict[str, list[str]]]:
    judge = asked({type_}, names or SPECS[type_].judges)
    counts: Counter[str] = Counter()
    shown: dict[str, list[str]] = {}
    if judge is None:
        return counts, shown

    @settings(max_examples=examples, database=None, phases=[Phase.generate], deadline=None,
              suppress_health_check=list(HealthCheck), derandomize=True)  # fmt: skip
    @given(one_layer(type_))
    def run(drawn: Drawn) -> None:
        try:
            outcome = compare(drawn.text, drawn.feeds, drawn.phase, drawn.seed, judge)
        except Exception as error:
            counts["crash"] += 1
            shown.setdefault("crash", []).append(f"{error!r}\n{drawn!r}")
            return
        counts[outcome.verdict] += 1
        if not outcome.agrees:
            shown.setdefault(outcome.verdict, []).append(f"{outcome.said}\n{drawn!r}")

    run()
    return counts, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--shown", type=int, default=2)
    parser.add_argument("--caffe", default="")
    options = parser.parse_args()
    total: Counter[str] = Counter()
    for type_ in options.types or SPECS:
        names = (options.caffe,) if options.caffe else ()
        counts, shown = measure(type_, options.examples, names)
        total += counts
        print(type_, dict(counts), flush=True)
        for verdict, examples in shown.items():
            for example in sorted(examples, key=len)[: options.shown]:
                print(f"  -- {verdict}: {example}")
    print("all", dict(total))


if __name__ == "__main__":
    main()
