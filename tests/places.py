"""Where things lie: the checkout, the tests' data, and what stands beside the checkout."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
CASES = TESTS / "cases"  # nets with the numbers that real Caffe computes for them
GOLDEN = TESTS / "golden"
EXAMPLES = ROOT / "examples"
SHARED = ROOT.parent / "shared"  # published nets; tests that need them are skipped without
CORPUS = SHARED / "corpus"
