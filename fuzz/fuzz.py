"""Fuzzer: runs protogen on invalid files, and reports every outcome but success or ProtogenError.

    python fuzz/fuzz.py                          all targets, 5 s each
    python fuzz/fuzz.py lint onnx --seconds 600  selected targets, longer
    python fuzz/fuzz.py net --guided             edits guided by coverage (atheris; Linux)
    python fuzz/fuzz.py --replay fuzz/findings   inputs that failed in the past

The exit code is 1 if there are findings. Their inputs are in fuzz/new/TARGET.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from targets import TARGETS, Target  # noqa: E402
from watch import Findings, Watch  # noqa: E402

LONGEST = 1 << 15  # maximum bytes of an input
ADDRESS_SPACE = 8 << 30  # maximum bytes of a process
POOL = 2000  # maximum number of inputs that edits start from


def execute(target: Target, raw: bytes, path: Path, findings: Findings) -> None:
    """Write one input to a file, and run the target on it."""
    path.write_bytes(raw)
    with Watch(raw, target.suffix, findings, target.bounded, target.floor):
        target.run(path)


def prepare() -> None:
    """Set up warnings: those of other libraries are findings, those of protogen are not."""
    from protogen.errors import ProtogenWarning

    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ProtogenWarning)
    warnings.filterwarnings("ignore", module="PIL")  # PIL warns of damaged images, which is correct


def warm(target: Target, path: Path, findings: Findings) -> list[bytes]:
    """Run the seeds twice, and return them.

    The first run is not counted: it loads modules, whose memory does not belong to an input.
    """
    seeds = [raw for raw in target.seeds() if len(raw) <= LONGEST]
    prepare()
    for run_findings in (Findings(), findings):
        for raw in seeds:
            execute(target, raw, path, run_findings)
    return seeds


def blind(target: Target, seconds: float, seed: int, findings: Findings, path: Path) -> None:
    """Run edited seeds and edits of these, without coverage."""
    seeds = warm(target, path, findings)
    random = Random(seed)
    pool = list(seeds)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        raw = target.mutate(random.choice(pool), random)[:LONGEST]
        refused = findings.refused
        execute(target, raw, path, findings)
        # Accepted inputs are edited again.
        if findings.refused == refused and random.randrange(4) == 0:
            if len(pool) < POOL:
                pool.append(raw)
            else:
                pool[random.randrange(len(seeds), POOL)] = raw


def guided(target: Target, seconds: float, seed: int, findings: Findings, path: Path) -> None:
    """Run inputs that atheris selects by coverage, with the target's own edits."""
    import atheris

    corpus = Path(tempfile.mkdtemp())
    with atheris.instrument_imports(include=["protogen"]):
        seeds = warm(target, path, Findings())
    for i, raw in enumerate(seeds):
        (corpus / f"{i:04}").write_bytes(raw)

    def edit(raw: bytes, limit: int, seed: int) -> bytes:
        random = Random(seed)
        if random.randrange(5) == 0:
            edited: bytes = atheris.Mutate(raw, limit)
            return edited
        return target.mutate(raw, random)[:limit]

    last_report = time.monotonic()

    def run_one(raw: bytes) -> None:
        nonlocal last_report
        execute(target, raw, path, findings)
        if time.monotonic() - last_report > 1:
            last_report = time.monotonic()
            _write_figures(target, findings)

    flags = [f"-max_total_time={int(seconds)}", f"-seed={seed or 1}", f"-max_len={LONGEST}",
             "-timeout=60", "-rss_limit_mb=4096", "-verbosity=0", "-print_final_stats=0"]  # fmt: skip
    atheris.Setup([sys.argv[0], *flags, str(corpus)], run_one, custom_mutator=edit)
    atheris.Fuzz()


def _write_figures(target: Target, findings: Findings) -> None:
    """Write the current figures to a file for the parent process."""
    if path := os.environ.get("FUZZ_FIGURES"):
        figures = {"target": target.name, "executions": findings.executions,
                   "refused": findings.refused, "slowest": findings.slowest, "memory": findings.memory,
                   "kinds": findings.kinds}  # fmt: skip
        Path(f"{path}.part").write_text(json.dumps(figures))
        os.replace(f"{path}.part", path)


def replay(folder: Path) -> Iterator[tuple[str, Findings]]:
    """Run each stored input FOLDER/TARGET/FILE."""
    for path in sorted(folder.glob("*/*")):
        target = TARGETS[path.parent.name]
        raw = path.read_bytes()
        with tempfile.TemporaryDirectory() as name:
            prepare()
            # The second run counts: the first loads modules, whose memory is not the input's.
            for findings in (Findings(), Findings()):
                execute(target, raw, Path(name) / f"input{target.suffix}", findings)
        yield f"{path.parent.name}/{path.name}", findings


def run_in_process(name: str, seconds: float, seed: int, by_coverage: bool) -> int:
    """Run one target in this process."""
    target = TARGETS[name]
    findings = Findings(HERE / "new" / name)
    # An input that needs too much memory must not stop the machine. The file of an input that ends
    # the process remains.
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    findings.folder.mkdir(parents=True, exist_ok=True)
    path = findings.folder / f"last{target.suffix}"
    (guided if by_coverage else blind)(target, seconds, seed, findings, path)
    path.unlink()
    _write_figures(target, findings)
    return bool(findings.kinds)


def run_all(names: list[str], seconds: float, seed: int, by_coverage: bool) -> int:
    """Run each target in its own process, so that a crash is a finding too."""
    print(f"{'target':<12} {'executions':>10} {'per s':>8} {'refused':>7} {'slowest':>9} "
          f"{'memory':>8}  findings")  # fmt: skip
    failed = False
    total = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            figures = Path(folder) / "figures.json"
            command = [sys.executable, __file__, "--alone", name, "--seconds", str(seconds),
                       "--seed", str(seed), *(["--guided"] if by_coverage else [])]  # fmt: skip
            start = time.monotonic()
            log = Path(folder) / "log"
            with log.open("wb") as file:
                completed = subprocess.run(
                    command, env=os.environ | {"FUZZ_FIGURES": str(figures)},
                    stdout=file, stderr=subprocess.STDOUT, check=False,
                )  # fmt: skip
            took = time.monotonic() - start
            results = json.loads(figures.read_text()) if figures.exists() else None
            text = log.read_text(errors="replace")
        if results is None or completed.returncode not in (0, 1):
            print(f"{name:<12} the process ended with {completed.returncode}\n{text[-3000:]}")
            failed = True
        if results is None:
            continue
        failed = failed or bool(results["kinds"])
        total += results["executions"]
        kinds = ", ".join(f"{kind} ({count})" for kind, count in results["kinds"].items()) or "none"
        print(
            f"{name:<12} {results['executions']:>10} {results['executions'] / took:>8.0f} "
            f"{results['refused'] / max(1, results['executions']):>7.0%} {results['slowest'] * 1e3:>6.0f} ms "
            f"{results['memory'] / 1e6:>5.1f} MB  {kinds}",
            flush=True,
        )
        if results["kinds"]:
            print(text[-4000:])
    print(f"{total} executions")
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("targets", nargs="*", help=f"targets: {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=5, help="time for each target (5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the edits (0)")
    parser.add_argument(
        "--guided", action="store_true", help="guide edits by coverage, with atheris"
    )
    parser.add_argument("--alone", metavar="TARGET", help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="run stored inputs")
    options = parser.parse_args()
    if options.alone:
        return run_in_process(options.alone, options.seconds, options.seed, options.guided)
    if options.replay:
        failed = [name for name, findings in replay(options.replay) if findings.kinds]
        print("\n".join(failed) or "all fine")
        return int(bool(failed))
    unknown = [name for name in options.targets if name not in TARGETS]
    if unknown:
        parser.error(f"unknown target {unknown[0]!r}, expected one of {', '.join(TARGETS)}")
    return run_all(options.targets or list(TARGETS), options.seconds, options.seed, options.guided)


if __name__ == "__main__":
    sys.exit(main())
