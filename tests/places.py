"""Paths of the checkout, of test data, and of the folder ../shared."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
CASES = TESTS / "cases"  # nets with the values that real Caffe computes
GOLDEN = TESTS / "golden"
EXAMPLES = ROOT / "examples"
SHARED = ROOT.parent / "shared"  # published nets; tests that need them are skipped if it is missing
CORPUS = SHARED / "corpus"
