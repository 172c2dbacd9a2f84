"""Runs nets in real Caffe. ``judge.py`` starts it in the Python environment of the Caffe.

    worker.py caffe|tpucaffe

Requests on standard input and answers on standard output have the same format: a length of 8 bytes (big
endian), and an .npz archive of that length.

Request: ``net`` (the prototxt, bytes), ``phase`` (0 TRAIN, 1 TEST), ``caffemodel`` (bytes; missing if the
net has no weights), ``backward`` (present to compute gradients), and ``in:BLOB`` for each input.
Answer: ``out:BLOB`` for every blob after forward; ``refused`` with Caffe's message if Caffe ended the
process; or ``failed`` with an error of this script or of the request.

Caffe ends its process when it refuses a net. Each net therefore runs in a fork of this process, which has
imported Caffe. Works on Python 3.9 and 3.10 with the packages of Caffe's environment.
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
        arrays = {key: archive[key] for key in archive.files}
    net_path = os.path.join(folder, "net.prototxt")
    with open(net_path, "wb") as file:
        file.write(arrays["net"].tobytes())
    phase = (caffe.TRAIN, caffe.TEST)[int(arrays["phase"])]
    net = caffe.Net(net_path, phase)
    if "caffemodel" in arrays:
        weights_path = os.path.join(folder, "net.caffemodel")
        with open(weights_path, "wb") as file:
            file.write(arrays["caffemodel"].tobytes())
        net.copy_from(weights_path)
    for key, array in arrays.items():
        if key.startswith("in:"):
            net.blobs[key[3:]].reshape(*array.shape)  # an in-place layer may have changed the shape
            net.blobs[key[3:]].data[...] = array
    net.forward()
    if "backward" in arrays:
        net.backward()
    return {"out:" + name: blob.data for name, blob in net.blobs.items()}


def last_message(log):
    """Return Caffe's last message: the text of a failed check, without time and process."""
    with open(log, errors="replace") as file:
        lines = file.read().splitlines()
    fatal = [line for line in lines if line[:1] == "F" and "] " in line]
    if fatal:
        source, message = fatal[-1].split("] ", 1)
        return "%s: %s" % (source.split()[-1].split(":")[0], message)
    return " ".join(lines[-3:])


def answer(caffe, request):
    with tempfile.TemporaryDirectory() as folder:
        log, result = os.path.join(folder, "log"), os.path.join(folder, "result")
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            try:
                packed = pack(forward(caffe, request, folder))
                with open(result, "wb") as file:
                    file.write(packed)
            except BaseException as error:  # the forked process must end here in every case
                os.write(2, ("%s: %s" % (type(error).__name__, error)).encode())
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            with open(result, "rb") as file:
                return file.read()
        message = last_message(log)
        kind = "failed"
        if os.WIFSIGNALED(status):
            kind, message = "refused", message or "signal %d" % os.WTERMSIG(status)
        return pack({kind: np.frombuffer(message.encode() or b"?", np.uint8)})


def main():
    # Only answers may be written to standard output.
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.environ["GLOG_minloglevel"] = "2"
    if sys.argv[1] == "tpucaffe":
        import tpu_mlir  # sets the library path of its own Caffe

        sys.path.insert(0, os.path.join(os.path.dirname(tpu_mlir.__file__), "python"))
    for name in ("skimage", "skimage.io", "skimage.transform", "scipy", "scipy.ndimage"):
        # pycaffe reads images with these modules. Without them the fork is three times as fast.
        sys.modules[name] = types.ModuleType(name)
    sys.modules["scipy.ndimage"].zoom = sys.modules["skimage.transform"].resize = None
    import caffe

    gc.freeze()
    type_names = "\n".join(caffe.layer_type_list())
    send(output, pack({"types": np.frombuffer(type_names.encode(), np.uint8)}))
    while True:
        request = receive(sys.stdin.buffer)
        if request is None:
            return
        send(output, answer(caffe, request))


if __name__ == "__main__":
    main()
