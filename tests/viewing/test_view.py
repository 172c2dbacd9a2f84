"""protogen view: what its server answers, and what it shows after a file was saved."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from places import EXAMPLES

import protogen as pg
from protogen.formats.message import Source
from protogen.report import weights as report_weights
from protogen.viewing import content as viewing_content
from protogen.viewing import server, watching
from protogen.viewing.content import layers_of
from protogen.viewing.policy import report_policy
from protogen.viewing.server import PAGES, STREAMS, Viewer
from protogen.viewing.watching import stamps, wait_for_change

SECONDS = 20  # for what happens in another thread or process
NET = """name: "small"
layer {
  name: "data"
  type: "Input"
  top: "data"
  input_param { shape { dim: [1, 3, 8, 8] } }
}
layer {
  name: "conv"
  type: "Convolution"
  bottom: "data"
  top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 }
}
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
"""


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


@pytest.fixture
def viewer(net: Path) -> Iterator[Viewer]:
    with Viewer(net) as viewer:
        yield viewer


def answer(
    viewer: Viewer, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Send a request with the right Host; ``headers`` replace it. Return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=SECONDS)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in ({"Host": f"127.0.0.1:{viewer.port}"} | headers).items():
        if value:
            connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, dict(response.getheaders()), body


def state_of(viewer: Viewer) -> dict[str, Any]:
    return json.loads(answer(viewer, f"/{viewer.token}/state")[2])


def wait_until(condition: Any) -> None:
    limit = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.02)


# answers


def test_page_state_and_report_are_answered(viewer):
    for name, kind in (
        ("", "text/html"), ("view.css", "text/css"), ("view.js", "text/javascript"),
        ("state", "application/json"), ("version", "application/json"), ("report/1", "text/html"),
    ):  # fmt: skip
        status, headers, body = answer(viewer, f"/{viewer.token}/{name}")
        assert status == 200, name
        assert headers["Content-Type"] == f"{kind}; charset=utf-8"
        assert int(headers["Content-Length"]) == len(body) > 0
    state = state_of(viewer)
    assert state["name"] == "net.prototxt"
    assert "\n".join(state["lines"]) == NET
    assert state["layers"] == [
        {"name": "data", "line": 2, "column": 1, "last": 7},
        {"name": "conv", "line": 8, "column": 1, "last": 14},
        {"name": "relu", "line": 15, "column": 1, "last": 15},
    ]
    assert (state["findings"], state["problems"], state["current"]) == ([], [], True)
    assert b'"name":"conv"' in answer(viewer, f"/{viewer.token}/report/1")[2]


def test_every_answer_has_the_headers_of_safety(viewer):
    paths = [f"/{viewer.token}/{name}" for name in (*PAGES, "state", "report/1", "nothing")]
    for path in (*paths, "/"):
        headers = answer(viewer, path)[1]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Server"] == "protogen"
        policy = headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy)
        ancestors = "'self'" if path.endswith("report/1") else "'none'"
        assert f"frame-ancestors {ancestors}" in policy
        assert "http" not in headers["Content-Security-Policy"]
        scripts = next((part for part in policy if part.startswith("script-src")), "")
        assert "unsafe" not in scripts


def test_pages_name_no_other_server():
    for _, body in PAGES.values():
        assert re.findall(rb"https?://|//\w", body.replace(b" // ", b"")) == []


def test_nothing_is_answered_without_the_token(viewer):
    token = viewer.token
    assert len(token) >= 32
    other = ("A" if token[0] != "A" else "B") + token[1:]
    for path in (
        "/", "", "/state", "/report/1", f"/{other}/", f"/{other}/state", f"/{token[:-1]}/state",
        f"/{token}x/state", f"/{token.swapcase()}/state", "/%00/state",
        f"/?{token}", f"/{token}", f"/state/{token}/",
    ):  # fmt: skip
        status, _, body = answer(viewer, path or "*")
        assert (status, body) == (404, b"404 Not Found\n"), path
    with socket.create_connection(("127.0.0.1", viewer.port), timeout=SECONDS) as connection:
        host = f"Host: 127.0.0.1:{viewer.port}"
        connection.sendall(f"GET /{token[:-1]}\u00e9/state HTTP/1.1\r\n{host}\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.0 404 Not Found")


def test_tokens_and_ports_differ(net):
    with Viewer(net) as one, Viewer(net) as two:
        assert one.token != two.token
        assert one.port != two.port
        assert answer(two, f"/{one.token}/state")[0] == 404


def test_no_other_host_is_answered(viewer):
    path, port = f"/{viewer.token}/state", viewer.port
    for host in (
        "evil.example", f"evil.example:{port}", "127.0.0.1", "localhost", f"127.0.0.1:{port + 1}",
        f"127.0.0.2:{port}", f"[::1]:{port}", f"0.0.0.0:{port}", f"127.0.0.1.evil.example:{port}",
        f"127.0.0.1:{port}@evil.example", f"127.0.0.1:{port}, evil.example", f"127.1:{port}",
    ):  # fmt: skip
        assert answer(viewer, path, Host=host)[::2] == (403, b"403 Forbidden\n"), host
    assert answer(viewer, path, Host="")[0] == 403
    assert answer(viewer, path, host=f"127.0.0.1:{port}")[0] == 403  # two Host headers
    for host in (f"localhost:{port}", f"LOCALHOST:{port}"):
        assert answer(viewer, path, Host=host)[0] == 200


def test_pages_of_other_origins_are_not_answered(viewer):
    path = f"/{viewer.token}/state"
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{viewer.port + 1}"):
        assert answer(viewer, path, Origin=origin)[0] == 403
    status, headers, _ = answer(viewer, path, Origin=f"http://127.0.0.1:{viewer.port}")
    assert status == 200
    assert not [name for name in headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "X"])
def test_other_methods_are_refused(viewer, method):
    status, headers, body = answer(viewer, f"/{viewer.token}/state", method)
    assert (status, headers["Allow"]) == (405, "GET")
    assert b"conv" not in body


def test_no_file_is_served(viewer, net):
    """The server knows a few names and opens no file."""
    (net.parent / "secret.txt").write_text("secret")
    token = viewer.token
    for name in (
        "../secret.txt", "secret.txt", "net.prototxt", "..%2fsecret.txt", "%2e%2e/secret.txt",
        "../../../../../../etc/passwd", "....//etc/passwd", "..\\secret.txt", "/etc/passwd",
        str(net.parent / "secret.txt"), "report/../state", "report/", "report/0", "report/2",
        "report/1/", "report/01", "report/1?x", "view.html", "server.py", "state/", "state?x",
        "./state", "%73tate", "state%00", "file:///etc/passwd",
    ):  # fmt: skip
        status, _, body = answer(viewer, f"/{token}/{name}")
        assert (status, body) == (404, b"404 Not Found\n"), name
    absolute = f"http://127.0.0.1:{viewer.port}/{token}/state"
    assert answer(viewer, absolute)[0] == 404


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n", b"GET\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"GET /" + b"a" * 70_000 + b"\r\n",
    ],
    ids=["words", "method", "HTTP 0.9", "version", "empty", "many headers", "long"],
)  # fmt: skip
def test_malformed_requests_are_harmless(viewer, raw, capfd):
    with socket.create_connection(("127.0.0.1", viewer.port), timeout=SECONDS) as connection:
        connection.sendall(raw)
        reply = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(1000):
                reply += part
    assert b"conv" not in reply
    assert not reply or re.match(rb"HTTP/1\.0 (4|5)\d\d |4\d\d ", reply)
    assert answer(viewer, f"/{viewer.token}/state")[0] == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(
    sys.platform != "linux", reason="127.0.0.2 is an address of this machine on Linux"
)
def test_only_the_loopback_address_is_bound(viewer):
    assert viewer.address.startswith("http://127.0.0.1:")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", viewer.port), timeout=SECONDS).close()


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


def test_names_of_a_net_add_no_script(tmp_path):
    """The policy names the digests of the scripts of the page of a fixed net."""
    path = tmp_path / "net.prototxt"
    path.write_text(NET.replace('"conv"', f'"{HOSTILE}"').replace('"small"', f'"{HOSTILE}"'))
    with Viewer(path) as viewer:
        _, headers, body = answer(viewer, f"/{viewer.token}/report/1")
        state = state_of(viewer)
    assert state["layers"][1]["name"] == HOSTILE
    assert b"<script>alert" not in body
    policy = headers["Content-Security-Policy"]
    assert policy == report_policy()
    assert policy.count("'sha256-") == len(re.findall(rb"<script>", body)) >= 1


# events


def events(viewer: Viewer) -> socket.socket:
    stream = socket.create_connection(("127.0.0.1", viewer.port), timeout=SECONDS)
    host = f"127.0.0.1:{viewer.port}"
    stream.sendall(f"GET /{viewer.token}/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return stream


def until(stream: socket.socket, end: bytes) -> bytes:
    received = b""
    while end not in received:
        part = stream.recv(1000)
        assert part, received
        received += part
    return received


def test_open_pages_are_notified_of_each_reading_and_of_the_end(viewer):
    with events(viewer) as stream:
        head = until(stream, b"data: 1\n\n")
        assert b"200 OK" in head
        assert b"Content-Type: text/event-stream" in head
        viewer.refresh()
        assert until(stream, b"data: 2\n\n") == b"data: 2\n\n"
        viewer.close()
        assert until(stream, b"data: 0\n\n") == b"event: end\ndata: 0\n\n"
        assert stream.recv(1000) == b""


def test_a_closed_page_frees_its_stream(viewer, monkeypatch):
    monkeypatch.setattr(server, "SILENCE", 0.05)
    with events(viewer) as stream:
        until(stream, b":\n\n")
        assert viewer.streams == 1
    wait_until(lambda: viewer.streams == 0)


def test_the_number_of_streams_is_limited(viewer):
    viewer.streams += STREAMS
    assert answer(viewer, f"/{viewer.token}/events")[0] == 503
    viewer.streams -= STREAMS


def test_a_closed_viewer_answers_nothing(net):
    viewer = Viewer(net)
    viewer.close()
    viewer.close()
    with pytest.raises(ConnectionRefusedError):
        answer(viewer, "/")


# redrawn after a save


@pytest.fixture
def watched(viewer: Viewer) -> Iterator[Viewer]:
    """Return a viewer that watches its files in a thread."""
    thread = threading.Thread(target=viewer.watch, daemon=True)
    thread.start()
    yield viewer
    viewer.close()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_page_is_redrawn_when_the_file_is_saved(watched, net):
    net.write_text(NET.replace('"conv"', '"first"'))
    wait_until(lambda: watched.content.version == 2)
    state = state_of(watched)
    assert [layer["name"] for layer in state["layers"]] == ["data", "first", "relu"]
    assert (state["drawing"], state["current"]) == (2, True)
    assert b'"name":"first"' in answer(watched, f"/{watched.token}/report/2")[2]
    assert answer(watched, f"/{watched.token}/report/1")[0] == 404


def test_page_is_redrawn_when_an_editor_renames_a_file_to_it(watched, net):
    for number in (2, 3):  # the second time, the first new file is replaced
        (net.parent / "new").write_text(NET.replace('"conv"', f'"c{number}"'))
        os.replace(net.parent / "new", net)
        wait_until(lambda: watched.content.version == number)  # noqa: B023
        assert state_of(watched)["layers"][1]["name"] == f"c{number}"


def test_deleted_file_leaves_the_drawing_until_it_is_back(watched, net):
    net.unlink()
    wait_until(lambda: watched.content.version == 2)
    state = state_of(watched)
    assert [one["text"] for one in state["problems"]] == [
        f"{net}: cannot be read (No such file or directory). Check the path."
    ]
    assert "\n".join(state["lines"]) == NET
    assert (state["drawing"], state["current"]) == (1, False)
    net.write_text(NET)
    wait_until(lambda: watched.content.version == 3)
    assert state_of(watched)["problems"] == []


def test_file_that_is_replaced_in_steps_is_read_once(net, monkeypatch):
    """A missing or growing file is not read yet."""
    before = stamps([net])
    moments: list[float] = []
    steps = [
        lambda: net.unlink(),
        lambda: net.write_text(NET[:40]),
        lambda: net.write_text(NET[:80]),
        lambda: net.write_text(NET),
    ]

    def stopped(seconds: float) -> bool:
        moments.append(moments[-1] + seconds if moments else seconds)
        if steps:
            steps.pop(0)()
        return False

    monkeypatch.setattr(watching.time, "monotonic", lambda: moments[-1] if moments else 0.0)
    assert wait_for_change([net], before, stopped)
    assert net.read_text() == NET
    assert steps == []
    assert moments[-1] < watching.ABSENT


def test_file_that_never_rests_is_read_after_a_while(net, monkeypatch):
    seconds = [0.0]

    def stopped(pause: float) -> bool:
        seconds[0] += pause
        net.write_text("#" * int(seconds[0] * 1000))
        return seconds[0] > 60

    monkeypatch.setattr(watching.time, "monotonic", lambda: seconds[0])
    assert wait_for_change([net], stamps([net]), stopped)
    assert seconds[0] < 2 * watching.LONGEST


# mistakes in the text


def test_syntax_error_has_its_place_and_leaves_the_drawing(viewer, net):
    net.write_text(NET.replace("kernel_size: 3", "kernel_size 3"))
    viewer.refresh()
    state = state_of(viewer)
    [problem] = state["problems"]
    assert problem["text"].startswith(f"{net}:13:49: ")
    assert (problem["line"], problem["column"]) == (13, 49)
    assert state["lines"][12].endswith("kernel_size 3 pad: 1 stride: 2 }")
    assert (state["drawing"], state["current"], state["findings"]) == (1, False, [])
    # The layers are still known, so that a click on one still marks its lines.
    assert [(one["name"], one["line"]) for one in state["layers"]] == [
        ("data", 2), ("conv", 8), ("relu", 15),
    ]  # fmt: skip
    net.write_text(NET)
    viewer.refresh()
    state = state_of(viewer)
    assert (state["drawing"], state["current"], state["problems"]) == (3, True, [])


def test_net_that_cannot_be_built_has_its_findings_and_the_last_drawing(viewer, net):
    net.write_text(NET.replace('bottom: "data"', 'bottom: "dota"'))
    viewer.refresh()
    state = state_of(viewer)
    [problem] = state["problems"]
    assert problem["text"] == (
        f'{net}:8:1: layer "conv" (Convolution): reads "dota", but no layer produces it. '
        "Check the name."
    )
    assert {(one["layer"], one["severity"]) for one in state["findings"]} >= {("conv", "error")}
    assert all(8 <= one["line"] <= 14 for one in state["findings"] if one["layer"] == "conv")
    assert state["drawing"] == 1


def test_viewer_starts_with_an_invalid_text(net):
    net.write_text("layer { name: ")
    with Viewer(net) as viewer:
        state = state_of(viewer)
        assert state["drawing"] == 0
        assert len(state["problems"]) == 1
        assert answer(viewer, f"/{viewer.token}/report/0")[0] == 404
        net.write_text(NET)
        viewer.refresh()
        assert state_of(viewer)["drawing"] == 2


def test_file_that_becomes_empty_or_binary_is_a_problem(viewer, net):
    for raw, words in ((b"", "empty"), (b"\x08\x07\x3a\x02\0\0" * 9, "binary|ONNX|caffemodel")):
        net.write_bytes(raw)
        viewer.refresh()
        [problem] = state_of(viewer)["problems"]
        assert re.search(words, problem["text"]), problem


def test_findings_have_line_layer_and_severity(viewer, net):
    shutil.copy(EXAMPLES / "flawed.prototxt", net)
    viewer.refresh()
    findings = state_of(viewer)["findings"]
    keys = ("code", "severity", "text", "layer", "line", "column")
    assert [tuple(one[key] for key in keys) for one in findings] == [
        (one.code, one.severity, one.message, one.layer, one.place.line, one.place.column)
        for one in pg.check_file(net).diagnostics
    ]
    assert ("PG101", "unknown-field", 17) in [
        (one["code"], one["name"], one["line"]) for one in findings
    ]
    assert {one["severity"] for one in findings} == {"error", "warning"}


def test_report_has_the_same_findings_as_the_text(net):
    """Those of the project's settings, which turn rules off and on."""
    net.write_text(NET.replace("kernel_size: 3", "kernel_size: 3 strid: 1"))
    with Viewer(net) as viewer:
        assert [one["code"] for one in state_of(viewer)["findings"]] == ["PG101"]
        assert b'"code":"PG101"' in answer(viewer, f"/{viewer.token}/report/1")[2]
        (net.parent / "protogen.toml").write_text('[check]\nignore = ["PG101"]\n')
        assert net.parent / "protogen.toml" in viewer._reader.files
        viewer.refresh()
        assert state_of(viewer)["findings"] == []
        assert b'"code":"PG101"' not in answer(viewer, f"/{viewer.token}/report/2")[2]


def test_invalid_project_settings_are_a_problem_and_the_net_is_drawn(viewer, net):
    (net.parent / "protogen.toml").write_text('[check]\nignore = ["PG999"]\n')
    viewer.refresh()
    state = state_of(viewer)
    [problem] = state["problems"]
    assert "PG999" in problem["text"]
    assert state["current"]


# weights


@pytest.fixture
def tiny(tmp_path: Path) -> tuple[Path, Path]:
    for ending in ("prototxt", "caffemodel"):
        shutil.copy(EXAMPLES / f"tiny.{ending}", tmp_path)
    return tmp_path / "tiny.prototxt", tmp_path / "tiny.caffemodel"


def test_weights_are_read_again_only_if_their_file_changed(tiny, monkeypatch):
    net, weights = tiny
    reads, sums = [], []
    read_with_id, histogram = report_weights.read_with_id, report_weights.histogram
    monkeypatch.setattr(
        report_weights, "read_with_id", lambda p: reads.append(p) or read_with_id(p)
    )
    monkeypatch.setattr(
        report_weights, "histogram", lambda array: sums.append(array.size) or histogram(array)
    )
    with Viewer(net, weights) as viewer:
        first = viewer.content.report
        count = len(sums)
        assert count > 5
        net.write_text("# changed\n" + net.read_text())
        viewer.refresh()
        assert (len(reads), len(sums)) == (1, count)
        bars = re.compile(rb'"bars":\[[\d,]+\]')
        assert bars.findall(viewer.content.report) == bars.findall(first) != []
        raw = weights.read_bytes()
        weights.unlink()
        weights.write_bytes(raw)
        viewer.refresh()
        assert (len(reads), len(sums)) == (2, 2 * count)


def test_weights_that_no_longer_fit_are_a_problem_and_the_net_is_drawn(tiny):
    net, weights = tiny
    with Viewer(net, weights) as viewer:
        assert state_of(viewer)["problems"] == []
        net.write_text(net.read_text().replace("num_output: 8", "num_output: 9", 1))
        viewer.refresh()
        state = state_of(viewer)
        [problem] = state["problems"]
        assert "num_output" in problem["text"]
        assert problem["line"] > 0
        assert state["current"]
        assert b'"bars"' not in viewer.content.report
        weights.unlink()
        viewer.refresh()
        [problem] = state_of(viewer)["problems"]
        assert "tiny.caffemodel: cannot be read" in problem["text"]


# the layers of a text


def test_layers_of_old_formats_and_of_every_phase():
    for name in ("old_net", "lenet_2013"):
        path = EXAMPLES / f"{name}.prototxt"
        source = Source(path.read_text(), str(path))
        rows = layers_of(source)
        lines = source.text.split("\n")
        for row in rows:
            assert re.match("layers|input", lines[row["line"] - 1])
            assert row["name"] in "\n".join(lines[row["line"] - 1 : row["last"]])
        assert len(rows) > 3
    phases = "".join(
        f'layer {{ name: "d{p}" type: "Input" top: "d" include {{ phase: {p} }} }}\n'
        for p in ("TRAIN", "TEST")
    )
    assert [row["name"] for row in layers_of(Source(phases, "x"))] == ["dTRAIN", "dTEST"]


@pytest.mark.parametrize(
    "raw",
    [
        b"layer: 3", b"layer { name: 1 }", b"layer {" * 5000, b"\r" * 9, b"# only a comment\n", b"}",
        b"\xff\xfea\0", b'layers { layer { name: "x" } }', b"name: '\xff\xc3' layer { name: '\xff' }",
        b"<html><body>", b'{"a": 1}', "layer { name: '\u202e\U0001f600\u2028' }".encode(),
    ],
)  # fmt: skip
def test_any_text_has_a_page(viewer, net, raw):
    net.write_bytes(raw)
    viewer.refresh()
    state = state_of(viewer)
    assert state["version"] == 2
    assert state["problems"] or state["findings"]


def test_very_long_texts_are_cut(net, monkeypatch):
    """An untrusted file may be large, or have very many findings."""
    shutil.copy(EXAMPLES / "flawed.prototxt", net)
    lines = net.read_text().split("\n")
    monkeypatch.setattr(viewing_content, "LINES", 5)
    monkeypatch.setattr(viewing_content, "WIDTH", 10)
    monkeypatch.setattr(viewing_content, "FINDINGS", 2)
    with Viewer(net) as viewer:
        state = state_of(viewer)
        assert state["lines"] == [line[:10] for line in lines[:5]]
        assert state["lines_left"] == len(lines) - 5
        assert len(state["findings"]) == 2
        assert state["findings_left"] == len(pg.check_file(net).diagnostics) - 2
        monkeypatch.setattr(viewing_content, "SIZE", 25)
        viewer.refresh()
        assert state_of(viewer)["lines"] == [line[:10] for line in lines[:2]]


def test_a_net_of_1000_layers_is_drawn_in_a_moment(tmp_path):
    """About half a second of work on a fast machine; the limit is that of a slow one."""
    layers = [NET.partition('layer {\n  name: "conv')[0]]
    for i in range(500):
        below = f"c{i - 1}" if i else "data"
        layers.append(
            f'layer {{ name: "c{i}" type: "Convolution" bottom: "{below}" top: "c{i}" '
            "convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }\n"
            f'layer {{ name: "r{i}" type: "ReLU" bottom: "c{i}" top: "c{i}" }}\n'
        )
    path = tmp_path / "net.prototxt"
    path.write_text("".join(layers))
    with Viewer(path) as viewer:
        begin = time.thread_time()
        viewer.refresh()
        assert time.thread_time() - begin < 4
        assert len(state_of(viewer)["layers"]) == 1001


# the command


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends signals to whole groups")
@pytest.mark.parametrize(
    ("number", "code", "last"),
    [(signal.SIGINT, 0, "protogen view has ended.\n"), (signal.SIGTERM, 143, "")],
    ids=["SIGINT", "SIGTERM"],
)
def test_signals_end_the_command(net, number, code, last):
    process = subprocess.Popen(
        [sys.executable, "-m", "protogen", "view", "--no-browser", str(net)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8",
    )  # fmt: skip
    assert process.stdout is not None
    try:
        address, hint = process.stdout.readline(), process.stdout.readline()
        match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/[\w-]{32,}/\n", address)
        assert match, process.communicate(timeout=SECONDS)
        socket.create_connection(("127.0.0.1", int(match[1])), timeout=SECONDS).close()
        process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert hint == "The page is drawn again when a file is saved. Ctrl-C ends the command.\n"
    assert (process.returncode, out, err) == (code, last, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(match[1])), timeout=SECONDS).close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing.prototxt"], "nothing.prototxt: cannot be read (No such file or directory)"),
        (["."], "cannot be read"),
        (["empty.prototxt"], "empty.prototxt: the file is empty"),
        (["model.onnx"], "model.onnx: the file is an ONNX model, expected the text of a net"),
        (["tiny.caffemodel"], "tiny.caffemodel: the file is a caffemodel, expected the text"),
        (["solver.prototxt"], "solver.prototxt: the file is the text of a solver"),
        (["-"], "the standard input cannot be watched. Write the net to a file first."),
        (["pipe"], "pipe: is a pipe or a device, which cannot be watched"),
        (["tiny.prototxt", "gone.caffemodel"], "gone.caffemodel: cannot be read"),
        (["tiny.prototxt", "tiny.prototxt"], "expected a caffemodel"),
        (["tiny.prototxt", "--dialect", "sdd"], "unknown name 'sdd'"),
        (["tiny.prototxt", "--port", "70000"], "70000 is not in the range"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_errors_before_the_server_starts(protogen, tiny, words, message):
    folder = tiny[0].parent
    (folder / "empty.prototxt").touch()
    (folder / "solver.prototxt").write_text('net: "tiny.prototxt"\nbase_lr: 0.1\n')
    shutil.copy(EXAMPLES / "squeeze_excite.onnx", folder / "model.onnx")
    if words == ["pipe"]:
        os.mkfifo(folder / "pipe")
    done = protogen("view", "--no-browser", *words, cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_port_in_use_is_an_error(viewer, net):
    with pytest.raises(pg.InputError, match=f"port {viewer.port} cannot be used .* free one"):
        Viewer(net, port=viewer.port)


def test_missing_library_is_an_error_before_the_server_starts_only(net, monkeypatch):
    def missing(*_: object, **__: object) -> None:
        raise pg.UnsupportedError("a library is missing")

    with Viewer(net) as viewer:
        monkeypatch.setattr(viewing_content, "write_report", missing)
        viewer.refresh()
        assert [one["text"] for one in state_of(viewer)["problems"]] == ["a library is missing."]
    with pytest.raises(pg.UnsupportedError, match="a library is missing"):
        Viewer(net)


class Browser(webbrowser.BaseBrowser):
    """A browser that remembers the addresses that it opens."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        self.addresses.append(url)
        return True


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_view_opens_the_browser_and_returns_when_interrupted(net, monkeypatch, capsys):
    browser = Browser()
    monkeypatch.setattr(webbrowser, "get", lambda: browser)
    monkeypatch.setattr(Viewer, "watch", interrupt)
    pg.view(net)
    [address] = browser.addresses
    assert capsys.readouterr().out == f"{address}\n"
    calls: list[tuple[str, bool]] = []
    pg.view(net, browser=False, ready=lambda address, opened: calls.append((address, opened)))
    assert len(browser.addresses) == 1
    assert [opened for _, opened in calls] == [False]
    port = int(calls[0][0].split(":")[2].split("/")[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=SECONDS).close()


def test_machine_without_a_browser(net, monkeypatch):
    """A browser for the terminal is not opened, unless the user chose it."""

    def none() -> None:
        raise webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(Viewer, "watch", interrupt)
    monkeypatch.delenv("BROWSER", raising=False)
    opened: list[bool] = []
    lynx = webbrowser.GenericBrowser([sys.executable, "-c", ""])
    for get in (none, lambda: lynx):
        monkeypatch.setattr(webbrowser, "get", get)
        pg.view(net, ready=lambda _, is_open: opened.append(is_open))
    assert opened == [False, False]
    monkeypatch.setenv("BROWSER", "lynx")
    pg.view(net, ready=lambda _, is_open: opened.append(is_open))
    assert opened[2]
