"""Fuzzer of the command line: runs commands with random options on modified files.

    python fuzz/commands.py                              all commands for 60 s
    python fuzz/commands.py convert cut --seconds 3600   selected commands, longer
    python fuzz/commands.py --seed 7 --only 1234         one execution again

Every command runs in a fork of a process that has loaded protogen. A finding is an exit code that
docs/exit_codes.md does not have or that means a fault (70), a traceback, a death by a signal, more than 60 s, a
changed input, or a temporary file that is left. The exit code is 1 if there are findings.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import click  # noqa: E402
import mutations  # noqa: E402
from targets import TARGETS, Target  # noqa: E402

EXCLUDED = {"view", "completion", "try"}  # a server, a script of the shell, other programs
ALLOWED = {0, 1, 2, 3}
OUTPUTS = {
    "plot",
    "receipt",
    "names",
    "rest",
    "write_net",
}  # options that write the file that they name
SECONDS = 60  # elapsed time of a command; the machine may be busy
ADDRESS_SPACE = 8 << 30
NAMES = ("net", "caffemodel", "binaryproto", "arrays", "hdf5", "picture", "onnx", "toml", "log", "template")  # fmt: skip
WORDS = (
    "data", "conv1", "prob", "fc8", "*", "", "-", "x=y", "data=1,3,8,8", "1,3,8,8", "0", "-1", "1e9", "nan",
    "xavier", "gaussian:0.01", "*=msra", "TEST", "PG1", "PG301", "deploy", "mnn", "rknn2", "opencv4", "caffe-1.0",
    "bilinear", "2", "2x3", "104,117,123", "0.017", "ReLU", "Convolution", "=", ",", "../up", "\udcff", "a\x1b[2J",
)  # fmt: skip


@dataclass
class Seeds:
    """Inputs of each kind of file, unmodified."""

    of: dict[str, tuple[Target, list[bytes]]] = field(default_factory=dict)
    matching: list[dict[str, bytes]] = field(default_factory=list)  # files of one net, by kind
    current: dict[str, bytes] = field(default_factory=dict)

    def load(self) -> None:
        for name in NAMES:
            target = TARGETS[name]
            self.of[name] = target, [raw for raw in target.seeds() if len(raw) < 1 << 16]
        with tempfile.TemporaryDirectory() as name:
            for raw in self.of["net"][1]:
                if files := _matching(raw, Path(name)):
                    self.matching.append(files)

    def begin(self, random: Random) -> None:
        """Choose the net whose files the arguments of one call are, in most cases."""
        self.current = random.choice(self.matching) if random.randrange(4) else {}
        if self.current and random.randrange(4) == 0:
            self.current = _renamed(self.current, random)

    def write(self, folder: Path, random: Random, preferred: str = "") -> str:
        """Write an input, modified in two of three cases, and return its path."""
        name = preferred if preferred in self.of and random.random() < 0.9 else random.choice(NAMES)
        target, raws = self.of[name]
        raw = self.current.get(name) or random.choice(raws)
        if random.randrange(4 if self.current else 1) == 0:
            raw = target.mutate(raw, random)
        if random.randrange(30) == 0:
            raw = raw[: random.randrange(len(raw) + 1)]
        path = folder / f"in{_unusual(random)}{len(list(folder.iterdir()))}{target.suffix}"
        path.write_bytes(raw)
        return str(path)


def _unusual(random: Random) -> str:
    """Return a part of a file's name, in most cases nothing."""
    parts = (
        " ",
        "'",
        '"',
        "\udcff",
        "\n",
        ";",
        "ï",
        "%s",
        "{0}",
        "[",
        "\\",
        "$HOME",
        "=",
        ",",
        "x" * 200,
    )
    return random.choice(parts) if random.randrange(10) == 0 else ""


def _renamed(files: dict[str, bytes], random: Random) -> dict[str, bytes]:
    """Return the files of a net with an unusual byte in the name of a layer or blob, in all of them."""
    names = sorted(set(re.findall(rb'(?:name|top): *"([^"\\]+)"', files["net"])))
    if not names:
        return files
    name = random.choice(names)
    at, byte = random.randrange(len(name)), random.choice(b"\xff\x00\x1b/.\n\"'=<:%\\ \xed\xc3")
    changed = bytearray(name)
    changed[at] = byte
    escaped = name[:at] + b"\\%03o" % byte + name[at + 1 :]
    return {
        kind: raw.replace(b'"%s"' % name, b'"%s"' % escaped)
        if kind == "net"
        else raw.replace(name, bytes(changed))
        for kind, raw in files.items()
    }


def _matching(raw: bytes, folder: Path) -> dict[str, bytes]:
    """Return a net, random weights for it and its ONNX model; empty if it cannot be exported."""
    import warnings

    import numpy as np

    import protogen as pg

    net, weights, model = (folder / f"net.{end}" for end in ("prototxt", "caffemodel", "onnx"))
    net.write_bytes(raw)
    generator = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loaded = pg.load(net)
            for layer, shapes in loaded.parameter_shapes.items():
                if shapes:
                    blobs = [0.1 + generator.random(shape, np.float32) for shape in shapes]
                    loaded.weights[layer] = blobs
            if sum(b.nbytes for blobs in loaded.weights.values() for b in blobs) > 1 << 18:
                return {}
            loaded.save(net, weights)
            pg.convert(net, weights, model)
        except pg.ProtogenError:
            return {}
    return {"net": raw, "caffemodel": weights.read_bytes(), "onnx": model.read_bytes()}


def commands() -> dict[str, click.Command]:
    """Return every command by its words, those of groups too."""
    from protogen.cli import COMMANDS, cli

    context = click.Context(cli)
    result: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if name in EXCLUDED or command is None:
            continue
        if isinstance(command, click.Group):
            result |= {f"{name} {inner}": one for inner, one in command.commands.items()}
        else:
            result[name] = command
    return result


def arguments(command: click.Command, folder: Path, random: Random, seeds: Seeds) -> Iterator[str]:
    """Yield the words of a call: every argument, and some of the options."""
    seeds.begin(random)
    rare = random.choice((1, 3, 10))
    for param in command.params:
        if isinstance(param, click.Argument):
            count = random.choice((1, 1, 2, 3)) if param.nargs < 0 else param.nargs
            if not param.required and random.randrange(3) == 0:
                continue
            for position in range(count):
                yield _value(param, folder, random, seeds, position)
        elif "--plugin" in param.opts or random.randrange(len(command.params) * rare) > 3:
            continue  # a plugin is code of the user
        elif getattr(param, "is_flag", False):
            yield random.choice((*param.opts, *param.secondary_opts))
        else:
            yield random.choice(param.opts)
            yield _value(param, folder, random, seeds, 0)


def _value(
    param: click.Parameter, folder: Path, random: Random, seeds: Seeds, position: int
) -> str:
    """Return a value for a parameter, of its kind in most cases."""
    kind: Any = param.type
    text = f"{param.metavar or ''} {param.name}".lower()
    if random.randrange(30) == 0:
        return random.choice(WORDS)
    if isinstance(kind, click.Choice):
        return str(random.choice(list(kind.choices)))
    if isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)):
        return mutations.NUMBERS[random.randrange(len(mutations.NUMBERS))].decode()
    if "Writable" in type(kind).__name__ or "output" in text or param.name in OUTPUTS:
        ending = random.choice(
            (".prototxt", ".onnx", ".caffemodel", ".npz", ".svg", ".png", ".html", ".json", "")
        )
        return str(folder / f"out{_unusual(random)}{random.randrange(3)}{ending}")
    wanted = {
        "caffemodel": "caffemodel", "onnx": "onnx", "toml": "toml", "log": "log", "npy": "arrays", "mean": "binaryproto",
        "image": "picture", "template": "template", "prototxt": "net", "net": "net", "model": "onnx",
    }  # fmt: skip
    for word, name in wanted.items():
        if word in text or (position == 1 and word == "caffemodel"):
            return seeds.write(folder, random, name)
    if (
        kind.name in ("file", "path", "filename")
        or "file" in text
        or isinstance(param, click.Argument)
    ):
        return seeds.write(folder, random, ("net", "caffemodel", "onnx")[min(position, 2)])
    return random.choice(WORDS)


def execute(words: list[str], folder: Path, ends: Counter[int]) -> str:
    """Run a command in a fork and count its exit code; return what is wrong, or an empty text."""
    inputs = {path: path.read_bytes() for path in folder.iterdir()}
    log = folder.parent / "log"
    child = os.fork()
    if not child:
        _run(words, folder, log)
    begin, status = time.monotonic(), 0
    while time.monotonic() - begin < SECONDS:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.002)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return f"takes more than {SECONDS} s"
    text = log.read_text(errors="replace")
    if os.WIFSIGNALED(status):
        return f"killed by signal {os.WTERMSIG(status)}"
    ends[os.WEXITSTATUS(status)] += 1
    if os.WEXITSTATUS(status) not in ALLOWED:
        last = text.strip().splitlines()[-1] if text.strip() else ""
        return f"exit code {os.WEXITSTATUS(status)}: {last[:300]}"
    if "Traceback (most recent" in text and "--traceback" not in words:
        return "a traceback"
    if "\x1b" in text:
        return "a control code in the output"
    left = [path.name for path in folder.iterdir() if path.name.endswith((".part", ".old"))]
    if left:
        return f"left {left}"
    changes = words[0] in ("fmt", "check") or "--into" in words  # they edit their inputs
    if not changes and any(not p.exists() or p.read_bytes() != raw for p, raw in inputs.items()):
        return "an input was changed"
    return ""


def _run(words: list[str], folder: Path, log: Path) -> None:
    """Run a command in this process, and end it."""
    code = 71
    try:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        os.chdir(folder)
        number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(number, 1)
        os.dup2(number, 2)
        sys.argv[:] = ["protogen", *words]
        from protogen.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 71
    finally:
        sys.stdout.flush()
        os._exit(code)


def fuzz(chosen: list[str], seconds: float, seed: int, only: int | None) -> int:
    """Run commands until the time is over; print and store findings."""
    every = commands()
    names = [name for name in every if not chosen or name.split()[0] in chosen]
    seeds, kinds, codes, ends = Seeds(), Counter[str](), Counter[str](), Counter[int]()
    seeds.load()
    end, number = time.monotonic() + seconds, -1 if only is None else only - 1
    while time.monotonic() < end and (only is None or number < only):
        number += 1
        random = Random(f"{seed} {number}")
        name = random.choice(names)
        with tempfile.TemporaryDirectory(prefix="protogen-fuzz.") as base:
            folder = Path(base) / "files"
            folder.mkdir()
            words = [*name.split(), *arguments(every[name], folder, random, seeds)]
            problem = execute(words, folder, ends)
            codes[name] += 1
            if problem:
                kind = f"{name}: {problem}"
                kinds[kind] += 1
                if kinds[kind] == 1:
                    print(
                        f"=== {kind}\n--seed {seed} --only {number}: protogen {words}", flush=True
                    )
                    stored = HERE / "new" / "commands" / f"{seed}-{number}"
                    shutil.copytree(folder, stored, dirs_exist_ok=True)
    total = sum(codes.values())
    shares = ", ".join(f"{code}: {count / total:.0%}" for code, count in sorted(ends.items()))
    print(f"{total} executions of {len(codes)} commands, {total / max(1.0, seconds):.0f} per s, "
          f"{len(kinds)} kinds of findings; exit codes {shares}")  # fmt: skip
    return int(bool(kinds))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("commands", nargs="*", help="the first words of commands; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="time in all (60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the calls (0)")
    parser.add_argument("--only", type=int, metavar="N", help="run execution N of this seed only")
    options = parser.parse_args()
    return fuzz(options.commands, options.seconds, options.seed, options.only)


if __name__ == "__main__":
    sys.exit(main())
