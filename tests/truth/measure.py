"""Compares protogen with real Caffe on many examples of each layer type, and counts the verdicts.

    python tests/truth/measure.py --examples 1000 [TYPE...]

The tests stop at the first difference. This script counts all differences and shows a few of each verdict.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

sys.path.insert(0, str(Path(__file__).parent))

from comparing import Outcome, compare, compare_back, judge_of
from drawing import SPECS, Drawn, one_layer, several_layers


def measure(type_: str, examples: int, back: bool) -> tuple[Counter[str], dict[str, list[str]]]:
    """Return the counts of verdicts, and the details of examples that do not agree."""
    counts: Counter[str] = Counter()
    shown: dict[str, list[str]] = {}

    @settings(max_examples=examples, database=None, phases=[Phase.generate], deadline=None,
              suppress_health_check=list(HealthCheck), derandomize=True)  # fmt: skip
    @given(several_layers() if type_ == "nets" else one_layer(type_))
    def run(drawn: Drawn) -> None:
        judge = judge_of(drawn)
        if judge is None:
            sys.exit(f"no Caffe is there that has {type_}")
        try:
            outcome = (compare_back if back else compare)(drawn, judge)
        except Exception as error:
            outcome = Outcome("crash", repr(error))
        counts[outcome.verdict] += 1
        if not outcome.agrees:
            shown.setdefault(outcome.verdict, []).append(f"{outcome.said}\n{drawn!r}")

    run()
    return counts, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("types", nargs="*")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--back", action="store_true", help="Caffe to ONNX and back to Caffe")
    parser.add_argument("--shown", type=int, default=2)
    options = parser.parse_args()
    total: Counter[str] = Counter()
    for type_ in options.types or [*SPECS, "nets"]:
        counts, shown = measure(type_, options.examples, options.back)
        total += counts
        print(type_, dict(counts), flush=True)
        for verdict, examples in shown.items():
            for example in sorted(examples, key=len)[: options.shown]:
                print(f"  -- {verdict}: {example}")
    print("all", dict(total))


if __name__ == "__main__":
    main()
