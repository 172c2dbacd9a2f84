"""Runs nets in real Caffe, one after the other. Started by ``judge.py`` in the Caffe's own Python.

    worker.py caffe|tpucaffe

A request on standard input and an answer on standard output are each 8 bytes of length (big endian)
and that many bytes of an .npz archive.

Request: ``net`` (the prototxt, bytes), ``phase`` (0 TRAIN, 1 TEST), ``caffemodel`` (bytes, none
where the net has no weights), ``backward`` where gradients are computed too, and ``in:BLOB`` for each
input.
Answer: ``out:BLOB`` for every blob after forward; ``refused``, Caffe's own words, where it ended its
process; or ``failed`` where this script, or what was asked of it, is wrong.

Caffe ends the process when it refuses a net, so each net has a process of its own: a copy (fork) of
this one, which has imported Caffe. Works on Python 3.9 and 3.10 with what Caffe's environment has.
"""

import gc
import io
import os
import signal
import struct
import sys
import tempfile
import types

import numpy as np

SECONDS = 30  # for one net


def read(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.read(count - len(data))
        if not piece:
            return None
        data += piece
    return data


def receive(stream):
    head = read(stream, 8)
    if head is None:
        return None
    return read(stream, struct.unpack(">Q", head)[0])


def send(stream, data):
    stream.write(struct.pack(">Q", len(data)) + data)
    stream.flush()


def pack(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def forward(caffe, request, folder):
    with np.load(io.BytesIO(request)) as archive:
        given = {key: archive[key] for key in archive.files}
    net = os.path.join(folder, "net.prototxt")
    with open(net, "wb") as file:
        file.write(given["net"].tobytes())
    phase = (caffe.TRAIN, caffe.TEST)[int(given["phase"])]
    made = caffe.Net(net, phase)
    if "caffemodel" in given:
        weights = os.path.join(folder, "net.caffemodel")
        with open(weights, "wb") as file:
            file.write(given["caffemodel"].tobytes())
        made.copy_from(weights)
    for key, array in given.items():
        if key.startswith("in:"):
            made.blobs[key[3:]].reshape(*array.shape)  # a layer in place may have changed it
            made.blobs[key[3:]].data[...] = array
    made.forward()
    if "backward" in given:
        made.backward()
    return {"out:" + name: blob.data for name, blob in made.blobs.items()}


def words(log):
    """What Caffe said last: the text of a failed check, without its time and process."""
    with open(log, errors="replace") as file:
        lines = file.read().splitlines()
    fatal = [line for line in lines if line[:1] == "F" and "] " in line]
    if fatal:
        source, said = fatal[-1].split("] ", 1)
        return "%s: %s" % (source.split()[-1].split(":")[0], said)
    return " ".join(lines[-3:])


def answer(caffe, request):
    with tempfile.TemporaryDirectory() as folder:
        log, result = os.path.join(folder, "log"), os.path.join(folder, "result")
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            handle = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            try:
                made = pack(forward(caffe, request, folder))
                with open(result, "wb") as file:
                    file.write(made)
            except BaseException as error:  # the copy of the process must end here whatever happens
                os.write(2, ("%s: %s" % (type(error).__name__, error)).encode())
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            with open(result, "rb") as file:
                return file.read()
        said = words(log)
        kind = "failed"
        if os.WIFSIGNALED(status):
            kind, said = "refused", said or "signal %d" % os.WTERMSIG(status)
        return pack({kind: np.frombuffer(said.encode() or b"?", np.uint8)})


def main():
    # Nothing but answers may reach standard output.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.environ["GLOG_minloglevel"] = "2"
    if sys.argv[1] == "tpucaffe":
        import tpu_mlir  # sets the library path of its own Caffe

        sys.path.insert(0, os.path.join(os.path.dirname(tpu_mlir.__file__), "python"))
    for name in ("skimage", "skimage.io", "skimage.transform", "scipy", "scipy.ndimage"):
        # What pycaffe reads pictures with. A small process is copied three times as fast.
        sys.modules[name] = types.ModuleType(name)
    sys.modules["scipy.ndimage"].zoom = sys.modules["skimage.transform"].resize = None
    import caffe

    gc.freeze()
    known = "\n".join(caffe.layer_type_list())
    send(output, pack({"types": np.frombuffer(known.encode(), np.uint8)}))
    while True:
        request = receive(sys.stdin.buffer)
        if request is None:
            return
        send(output, answer(caffe, request))


if __name__ == "__main__":
    main()
