"""Feeds protogen with broken files, and tells of everything that is not a clear refusal.

    python fuzz/fuzz.py                          all targets, 5 s each
    python fuzz/fuzz.py lint onnx --seconds 600  some, longer
    python fuzz/fuzz.py net --guided             edits led by coverage (atheris; Linux)
    python fuzz/fuzz.py --replay fuzz/findings   inputs that once broke something

Exits with 1 where it found something; the inputs then lie in fuzz/new/TARGET.
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

LONGEST = 1 << 15  # bytes of an input
ROOM = 8 << 30  # bytes of address space for a process
KEEP = 2000  # inputs in the pool that edits start from


def execute(target: Target, raw: bytes, place: Path, findings: Findings) -> None:
    """One input, written as a file and read by the target."""
    place.write_bytes(raw)
    with Watch(raw, target.suffix, findings, target.bounded, target.floor):
        target.run(place)


def prepare() -> None:
    """Warnings of libraries are findings, those of protogen are not; little is printed."""
    from protogen.errors import ProtogenWarning

    warnings.simplefilter("error")
    warnings.simplefilter("ignore", ProtogenWarning)
    warnings.filterwarnings("ignore", module="PIL")  # of damaged pictures it warns, which is right


def warm(target: Target, place: Path, findings: Findings) -> list[bytes]:
    """Runs the seeds twice: what is loaded once is not memory of an input."""
    seeds = [raw for raw in target.seeds() if len(raw) <= LONGEST]
    prepare()
    for counted in (Findings(), findings):
        for raw in seeds:
            execute(target, raw, place, counted)
    return seeds


def blind(target: Target, seconds: float, seed: int, findings: Findings, place: Path) -> None:
    """Edits of seeds and of edited seeds, without coverage."""
    seeds = warm(target, place, findings)
    random = Random(seed)
    pool = list(seeds)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        raw = target.mutate(random.choice(pool), random)[:LONGEST]
        refused = findings.refused
        execute(target, raw, place, findings)
        # What was not refused is worth another edit.
        if findings.refused == refused and random.randrange(4) == 0:
            if len(pool) < KEEP:
                pool.append(raw)
            else:
                pool[random.randrange(len(seeds), KEEP)] = raw


def guided(target: Target, seconds: float, seed: int, findings: Findings, place: Path) -> None:
    """Atheris chooses by coverage what is edited further, with the target's own edits."""
    import atheris

    corpus = Path(tempfile.mkdtemp())
    with atheris.instrument_imports(include=["protogen"]):
        seeds = warm(target, place, Findings())
    for i, raw in enumerate(seeds):
        (corpus / f"{i:04}").write_bytes(raw)

    def edit(raw: bytes, most: int, number: int) -> bytes:
        random = Random(number)
        if random.randrange(5) == 0:
            made: bytes = atheris.Mutate(raw, most)
            return made
        return target.mutate(raw, random)[:most]

    told = time.monotonic()

    def one(raw: bytes) -> None:
        nonlocal told
        execute(target, raw, place, findings)
        if time.monotonic() - told > 1:
            told = time.monotonic()
            _tell(target, findings)

    flags = [f"-max_total_time={int(seconds)}", f"-seed={seed or 1}", f"-max_len={LONGEST}",
             "-timeout=60", "-rss_limit_mb=4096", "-verbosity=0", "-print_final_stats=0"]  # fmt: skip
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one, custom_mutator=edit)
    atheris.Fuzz()


def _tell(target: Target, findings: Findings) -> None:
    """Figures so far, for the process that waits."""
    if place := os.environ.get("FUZZ_FIGURES"):
        told = {"target": target.name, "executions": findings.executions,
                "refused": findings.refused, "slowest": findings.slowest, "memory": findings.most,
                "kinds": findings.kinds}  # fmt: skip
        Path(f"{place}.part").write_text(json.dumps(told))
        os.replace(f"{place}.part", place)


def replay(folder: Path) -> Iterator[tuple[str, Findings]]:
    """Runs inputs that were kept, FOLDER/TARGET/FILE, each once."""
    for path in sorted(folder.glob("*/*")):
        target = TARGETS[path.parent.name]
        raw = path.read_bytes()
        with tempfile.TemporaryDirectory() as name:
            prepare()
            for findings in (Findings(), Findings()):  # what is loaded once is not its memory
                execute(target, raw, Path(name) / f"input{target.suffix}", findings)
        yield f"{path.parent.name}/{path.name}", findings


def alone(name: str, seconds: float, seed: int, led: bool) -> int:
    """One target in this process."""
    target = TARGETS[name]
    findings = Findings(HERE / "new" / name)
    # Whoever takes all memory shall fail, not the machine; the input of a crash stays.
    resource.setrlimit(resource.RLIMIT_AS, (ROOM, ROOM))
    findings.folder.mkdir(parents=True, exist_ok=True)
    place = findings.folder / f"last{target.suffix}"
    (guided if led else blind)(target, seconds, seed, findings, place)
    place.unlink()
    _tell(target, findings)
    return bool(findings.kinds)


def all_of(names: list[str], seconds: float, seed: int, led: bool) -> int:
    """Each target in a process of its own, so that a crash of one is a finding too."""
    print(f"{'target':<12} {'executions':>10} {'a second':>8} {'refused':>7} {'slowest':>9} "
          f"{'memory':>8}  findings")  # fmt: skip
    failed = False
    total = 0
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            figures = Path(folder) / "figures.json"
            command = [sys.executable, __file__, "--alone", name, "--seconds", str(seconds),
                       "--seed", str(seed), *(["--guided"] if led else [])]  # fmt: skip
            start = time.monotonic()
            log = Path(folder) / "log"
            with log.open("wb") as file:
                ended = subprocess.run(
                    command, env=os.environ | {"FUZZ_FIGURES": str(figures)},
                    stdout=file, stderr=subprocess.STDOUT, check=False,
                )  # fmt: skip
            took = time.monotonic() - start
            told = json.loads(figures.read_text()) if figures.exists() else None
            text = log.read_text(errors="replace")
        if told is None or ended.returncode not in (0, 1):
            print(f"{name:<12} the process ended with {ended.returncode}\n{text[-3000:]}")
            failed = True
        if told is None:
            continue
        failed = failed or bool(told["kinds"])
        total += told["executions"]
        kinds = ", ".join(f"{what} ({count})" for what, count in told["kinds"].items()) or "none"
        print(
            f"{name:<12} {told['executions']:>10} {told['executions'] / took:>8.0f} "
            f"{told['refused'] / max(1, told['executions']):>7.0%} {told['slowest'] * 1e3:>6.0f} ms "
            f"{told['memory'] / 1e6:>5.1f} MB  {kinds}",
            flush=True,
        )
        if told["kinds"]:
            print(text[-4000:])
    print(f"{total} executions")
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=5, help="for each target (5)")
    parser.add_argument("--seed", type=int, default=0, help="of the edits (0)")
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris")
    parser.add_argument("--alone", metavar="TARGET", help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=Path, metavar="FOLDER", help="run kept inputs once")
    given = parser.parse_args()
    if given.alone:
        return alone(given.alone, given.seconds, given.seed, given.guided)
    if given.replay:
        broken = [name for name, findings in replay(given.replay) if findings.kinds]
        print("\n".join(broken) or "all fine")
        return int(bool(broken))
    unknown = [name for name in given.targets if name not in TARGETS]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(TARGETS)}")
    return all_of(given.targets or list(TARGETS), given.seconds, given.seed, given.guided)


if __name__ == "__main__":
    sys.exit(main())
