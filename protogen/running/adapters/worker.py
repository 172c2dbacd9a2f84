"""Runs nets in a toolchain. ``running.toolchain`` starts it in the Python of the toolchain.

    worker.py ADAPTER.py

The first line on standard output, before any request, says what the adapter has loaded:

    {"version": "1.2", "words": [...], ...}

with every other key that the adapter's ``load`` returns; or {"missing": "..."} if a module is not
installed, or {"broken": "..."} if the adapter fails in another way. A request is a line of JSON on
standard input, with paths of files:

    {"net": "n.prototxt", "weights": "n.caffemodel" or null, "inputs": "in.npz",
     "outputs": "out.npz", "seconds": 60, "options": {}}

The answer is a line of JSON on standard output:

    {"state": "ran" | "refused" | "crashed" | "hung", "names": [...], "message": "...", "log": "...",
     "seconds": 0.2}

``names[i]`` is the blob of the array ``a{i}`` in outputs. If the toolchain names no outputs, ``names`` is
null, and the arrays are in the order of the outputs of the net.

Each net runs in a fork of this process, which has imported the toolchain. So the toolchain starts once
for many nets, and a net that ends its process, or that never ends, does not harm the next one. The
process ends, together with the net that runs, when its standard input is closed. Works on Python 3.7 and
later with numpy; needs a system that has fork.
"""

import contextlib
import gc
import importlib.util
import io
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback

import numpy as np
from refusal import Refused

# Adapters have the names of the packages that they import.
sys.path[:] = [
    folder for folder in sys.path if folder != os.path.dirname(os.path.abspath(__file__))
]

HEAD, TAIL = 1 << 15, 1 << 16  # bytes of the output of a toolchain that are used
REFUSED, FAILED = 4, 3
AFTERWARDS = 0.5  # seconds in which processes that outlive the net may still print


class Log:
    """The output of a toolchain: its beginning and its end, however much it prints."""

    def __init__(self):
        self.head, self.tail, self.total = b"", b"", 0

    def add(self, piece):
        self.total += len(piece)
        room = HEAD - len(self.head)
        self.head += piece[:room]
        self.tail = (self.tail + piece[room:])[-TAIL:] if len(piece) > room else self.tail

    def text(self):
        left_out = self.total - len(self.head) - len(self.tail)
        between = b"\n[%d bytes left out]\n" % left_out if left_out else b""
        return (self.head + between + self.tail).decode(errors="replace")


class Pipes:
    """The two streams of the protocol, which the toolchain cannot use: it sees an empty standard input,
    and what it prints goes elsewhere."""

    def __init__(self):
        self.requests, self.replies = os.dup(0), os.dup(1)
        nowhere = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nowhere, 0)
        os.close(nowhere)
        os.dup2(2, 1)
        self.unread = b""

    def receive(self):
        """Return the next request; None at the end."""
        while b"\n" not in self.unread:
            piece = os.read(self.requests, 1 << 16)
            if not piece:
                return None
            self.unread += piece
        line, _, self.unread = self.unread.partition(b"\n")
        return json.loads(line.decode())

    def send(self, reply):
        data = json.dumps(reply).encode() + b"\n"
        while data:
            data = data[os.write(self.replies, data) :]

    def close(self):
        os.close(self.requests)
        os.close(self.replies)


def load(path):
    """Import an adapter, and the toolchain. Return the adapter and the first answer."""
    spec = importlib.util.spec_from_file_location("adapter", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded = module.load()
    about = dict(loaded) if isinstance(loaded, dict) else {"version": str(loaded)}
    about["words"] = list(getattr(module, "WORDS", ()))
    return module, about


def numbers(array):
    """The array of an output.

    Raises:
        TypeError: it is not an array of numbers.
    """
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise TypeError("an output is not an array of numbers, but %s" % array.dtype)
    return array


def run(adapter, request, result):
    """Run one net in this process, and write its outputs."""
    with np.load(request["inputs"]) as archive:
        inputs = {
            name: archive["a%d" % i] for i, name in enumerate(json.loads(str(archive["names"])))
        }
    try:
        outputs = adapter.run(
            request["net"], request["weights"], inputs, dict(request.get("options") or {})
        )
    except Refused as error:
        answer = {"message": str(error)}
        code = REFUSED
    else:
        named = isinstance(outputs, dict)
        arrays = list(outputs.values()) if named else outputs
        with open(request["outputs"], "wb") as stream:
            np.savez(stream, **{"a%d" % i: numbers(array) for i, array in enumerate(arrays)})
        answer = {"names": [str(name) for name in outputs] if named else None}
        code = 0
    with open(result, "w") as stream:
        json.dump(answer, stream)
    return code


def child(adapter, request, result, folder, output, pipes):
    """The process of one net. It never returns."""
    code = FAILED
    try:
        os.setsid()  # the processes that a toolchain starts end with it
        pipes.close()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.chdir(folder)  # some toolchains write files beside themselves
        code = run(adapter, request, result)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os.write(2, ("\n" + traceback.format_exc()).encode(errors="replace"))
    finally:
        os._exit(code)


def end(process):
    """End a process and all that it has started in its group."""
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(process, signal.SIGKILL)


def drain(pipe, log, until, process, requests):
    """Read the output of a process until it ends, and return its status; None if it does not end."""
    status, streams = None, [pipe, requests]
    while True:
        now = time.time()
        ready, _, _ = select.select(streams, [], [], max(0.0, min(0.05, until - now)))
        if requests in ready:  # there is one request at a time: this is the end of the stream
            end(process)
            os._exit(0)
        if pipe in ready:
            piece = os.read(pipe, 1 << 16)
            log.add(piece)
            if not piece:
                streams.remove(pipe)
                if status is not None:
                    return status
        elif status is not None:
            return status
        if status is None:
            # The end of the output comes a moment before the end of the process.
            for _ in range(50 if pipe not in streams else 1):
                done, code = os.waitpid(process, os.WNOHANG)
                if done:
                    break
                if pipe not in streams:
                    time.sleep(0.0002)
            if done:
                status, until = code, time.time() + AFTERWARDS
                end(process)  # the group: processes that it has left behind
                if pipe not in streams:
                    return status
            elif time.time() > until:
                end(process)
                os.waitpid(process, 0)
                return None
        elif time.time() > until:
            return status


def answer(adapter, request, pipes):
    folder = tempfile.mkdtemp(prefix="protogen-try-")
    result = os.path.join(folder, "result.json")
    inside, outside = os.pipe()
    log, began = Log(), time.time()
    process = os.fork()
    if process == 0:
        os.close(inside)
        child(adapter, request, result, folder, outside, pipes)
    os.close(outside)
    try:
        status = drain(inside, log, began + request["seconds"], process, pipes.requests)
        reply = {"log": log.text(), "seconds": time.time() - began, "message": "", "names": None}
        if status is None:
            reply["state"] = "hung"
        elif os.WIFSIGNALED(status):
            signals = getattr(adapter, "REFUSES_BY", ())
            number = os.WTERMSIG(status)
            reply["state"] = "refused" if number in signals else "crashed"
            reply["message"] = "" if number in signals else "signal %d" % number
        elif os.path.exists(result) and os.WEXITSTATUS(status) in (0, REFUSED):
            with open(result) as stream:
                reply.update(json.load(stream))
            reply["state"] = "ran" if os.WEXITSTATUS(status) == 0 else "refused"
        else:
            reply["state"] = "crashed"
            if os.WEXITSTATUS(status) != FAILED:
                reply["message"] = "exit code %d" % os.WEXITSTATUS(status)
        return reply
    finally:
        os.close(inside)
        shutil.rmtree(folder, ignore_errors=True)


def problem(error, path):
    """One line about an error: its kind, its text, and its line in the adapter."""
    line = error.lineno if isinstance(error, SyntaxError) else 0
    for frame in traceback.extract_tb(error.__traceback__):
        line = frame.lineno if frame.filename == path and not line else line
    place = " (line %d)" % line if line else ""
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return "%s: %s%s" % (type(error).__name__, text, place)


def warm_up():
    """Import what numpy imports only when it writes an archive, so that no fork has to."""
    file = io.BytesIO()
    np.savez(file, a0=np.zeros(1))
    file.seek(0)
    with np.load(file) as archive:
        archive["a0"]


def unlimited():
    """Remove the limit of a command of protogen: some toolchains reserve far more memory than they use."""
    try:
        import resource
    except ImportError:  # Windows
        return
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def main():
    unlimited()
    pipes = Pipes()
    try:
        adapter, about = load(sys.argv[1])
    except ImportError as error:
        pipes.send({"missing": str(error)})
        return
    except Exception as error:  # whatever an adapter raises
        pipes.send({"broken": problem(error, sys.argv[1])})
        return
    warm_up()
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()
    pipes.send(about)
    while True:
        request = pipes.receive()
        if request is None:
            return
        pipes.send(answer(adapter, request, pipes))


if __name__ == "__main__":
    main()
