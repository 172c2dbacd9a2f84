"""``pg.view``: serves the page of a net to the browsers of this machine."""

from __future__ import annotations

import hmac
import os
import secrets
import socketserver
import stat
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files as resources
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from protogen.errors import InputError
from protogen.formats import contents, files
from protogen.geometry import Shape
from protogen.net.build import Reading
from protogen.toolchains.dialects import check_dialect
from protogen.viewing.content import Content, Reader
from protogen.viewing.policy import POLICY, report_policy
from protogen.viewing.watching import stamps, wait_for_change

HOST = "127.0.0.1"
SILENCE = 15.0  # seconds after which an event stream sends a comment, to notice that it is closed
STREAMS = 32  # event streams at most, one for each open page
PATIENCE = 30.0  # seconds in which a request must arrive
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


class Viewer:
    """A server for the page of one net, on the loopback address of this machine.

    The address contains a random token, without which nothing is answered. Use it in a ``with`` block:
    ``with Viewer("net.prototxt") as viewer: print(viewer.address); viewer.watch()``.

    Args:
        path: the prototxt.
        caffemodel: the weights; optional.
        port: the port; 0 for a free one.
        input_shapes: shapes of inputs by name, instead of those of the prototxt.
        reading: phase, level, stages, dialect and so on, as for ``pg.load``.

    Raises:
        InputError: a file is missing, is not a regular file or is of the wrong kind, or the port is in
            use.
        UnsupportedError: a library that the report needs is not installed.
    """

    def __init__(
        self,
        path: str | Path,
        caffemodel: str | Path | None = None,
        *,
        port: int = 0,
        input_shapes: Mapping[str, Shape] | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        _check_file(path, "net")
        if caffemodel is not None:
            _check_file(caffemodel, "weights")
        if reading.get("dialect"):
            check_dialect(reading["dialect"])
        self._reader = Reader(path, caffemodel, input_shapes, reading)
        self._reading = threading.Lock()
        self._stamps = stamps(self._reader.files)
        self.content: Content = self._reader.read(first=True)
        report_policy()  # computed here, because it is slow and not for several threads at once
        self.changed = threading.Condition()
        self.streams = 0
        self.closed = threading.Event()
        self.token = secrets.token_urlsafe(24)
        self._server = _server(self, port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """The address of the page, with the token."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def watch(self) -> None:
        """Read the files again whenever one of them changes, until the viewer is closed."""
        while wait_for_change(self._reader.files, self._stamps, self.closed.wait):
            self.refresh()

    def refresh(self) -> None:
        """Read the files again, and send the new content to all open pages."""
        with self._reading:
            self._stamps = stamps(self._reader.files)
            content = self._reader.read()
        with self.changed:
            self.content = content
            self.changed.notify_all()

    def wait_for_news(self, version: int) -> None:
        """Wait for a reading after this one, or for the end, but at most ``SILENCE``."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.content.version != version or self.closed.is_set(), SILENCE
            )

    def close(self) -> None:
        """Tell the open pages that this is the end, and stop the server."""
        if self.closed.is_set():
            return
        self.closed.set()
        with self.changed:
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self.streams, timeout=1.0)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def view(
    path: str | Path,
    caffemodel: str | Path | None = None,
    *,
    browser: bool = True,
    port: int = 0,
    ready: Callable[[str, bool], object] | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
    **reading: Unpack[Reading],
) -> None:
    """Show the report of a net in the browser, beside its text and its findings, until Ctrl-C.

    The page is drawn again whenever the prototxt, the weights or the project's settings are saved. It
    is served on the loopback address; its address contains a random token.

    Args:
        path: the prototxt.
        caffemodel: the weights; optional.
        browser: open the page in the browser.
        port: the port; 0 for a free one.
        ready: called with the address, and whether a browser was opened, when the server answers; by
            default the address is printed.
        input_shapes: shapes of inputs by name, instead of those of the prototxt.
        reading: phase (TEST by default, or TRAIN if the net is valid only in that phase), level,
            stages, dialect and so on, as for ``pg.load``.

    Raises:
        InputError: a file is missing, is not a regular file or is of the wrong kind, or the port is in
            use.
        UnsupportedError: a library that the report needs is not installed.
    """
    with Viewer(path, caffemodel, port=port, input_shapes=input_shapes, **reading) as viewer:
        try:
            opened = browser and _opened(viewer.address)
            if ready is None:
                print(viewer.address, flush=True)
            else:
                ready(viewer.address, opened)
            viewer.watch()
        except KeyboardInterrupt:
            return


def _opened(address: str) -> bool:
    """Open the address in a browser with windows. Return False if this machine has none."""
    import webbrowser

    try:
        controller: Any = webbrowser.get()
    except webbrowser.Error:
        return False
    # A browser for the terminal, such as lynx, would wait, and shows no drawing.
    in_terminal = type(controller) is webbrowser.GenericBrowser
    if in_terminal and "BROWSER" not in os.environ:
        return False
    return bool(controller.open(address))


def _check_file(path: str | Path, wanted: str) -> None:
    """Raise InputError if a file is missing, cannot be watched, or is of another kind."""
    if str(path) == files.STDIN:
        raise InputError(
            "the standard input cannot be watched", advice="Write the net to a file first."
        )
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise InputError(
                "is a pipe or a device, which cannot be watched",
                where=str(path),
                advice="Write the net to a file first.",
            )
        open(path, "rb").close()
    except OSError as error:
        raise files.unreadable(path, error) from None
    contents.check_file(path, wanted)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # on Windows this lets two programs share a port
    viewer: Viewer

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer also looks up the name of the host
        self.server_name, self.server_port = HOST, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        import sys

        if not isinstance(sys.exception(), OSError):  # the browser closed the connection
            super().handle_error(request, client_address)


def _server(viewer: Viewer, port: int) -> _Server:
    """Return a server that accepts connections.

    Raises:
        InputError: the port cannot be used.
    """
    try:
        server = _Server((HOST, port), _Handler)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "the largest port is 65535"
        raise InputError(
            f"port {port} cannot be used ({reason})",
            advice="Choose another port, or leave it out for a free one.",
        ) from None
    server.viewer = viewer
    return server


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = PATIENCE

    def do_GET(self) -> None:
        if not self._is_for_us():
            self._answer(HTTPStatus.FORBIDDEN)
            return
        viewer = self.server.viewer
        content = viewer.content
        _, _, rest = self.path.partition("/")
        token, slash, name = rest.partition("/")
        if not hmac.compare_digest(token.encode(), viewer.token.encode()) or not slash:
            self._answer(HTTPStatus.NOT_FOUND)
        elif name in PAGES:
            self._answer(HTTPStatus.OK, *PAGES[name])
        elif name == "state":
            self._answer(HTTPStatus.OK, "application/json", content.state)
        elif name == "version":
            self._answer(HTTPStatus.OK, "application/json", str(content.version).encode())
        elif name == f"report/{content.drawing}" and content.report:
            self._answer(HTTPStatus.OK, "text/html", content.report, report_policy())
        elif name == "events":
            self._stream(viewer)
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def _is_for_us(self) -> bool:
        """Whether the request names this server, as a page of another name for this address does not."""
        port = self.server.server_port
        hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
        if port == 80:  # browsers leave it out
            hosts |= {HOST, "localhost"}
        origins = {f"http://{host}" for host in hosts}
        named = self.headers.get_all("Host", [])
        return (
            len(named) == 1
            and named[0].lower() in hosts
            and all(origin in origins for origin in self.headers.get_all("Origin", []))
        )

    def _stream(self, viewer: Viewer) -> None:
        """Send the number of each new reading, until the viewer or the page is closed."""
        with viewer.changed:
            is_free = viewer.streams < STREAMS
            viewer.streams += is_free
        if not is_free:
            self._answer(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        try:
            self._head(HTTPStatus.OK, "text/event-stream", POLICY)
            self.end_headers()
            sent = 0
            while not viewer.closed.is_set():
                version = viewer.content.version
                line = ":" if version == sent else f"data: {version}"
                self.wfile.write(f"{line}\n\n".encode())
                viewer.wait_for_news(sent := version)
            self.wfile.write(b"event: end\ndata: 0\n\n")
        finally:
            with viewer.changed:
                viewer.streams -= 1
                viewer.changed.notify_all()

    def _answer(
        self, status: HTTPStatus, kind: str = "text/plain", body: bytes = b"", policy: str = POLICY
    ) -> None:
        if status != HTTPStatus.OK:
            body = f"{status.value} {status.phrase}\n".encode()
        self._head(status, kind, policy)
        self.send_header("Content-Length", str(len(body)))
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: HTTPStatus, kind: str, policy: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Security-Policy", policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:  # a malformed request, or a method without a function do_METHOD
        self.close_connection = True
        status = HTTPStatus(code)
        other = status == HTTPStatus.NOT_IMPLEMENTED
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED if other else status)

    def version_string(self) -> str:
        return "protogen"

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: the lines would contain the token."""


def _page(name: str) -> tuple[str, bytes]:
    return _TYPES[Path(name).suffix], resources("protogen.viewing").joinpath(name).read_bytes()


PAGES = {"": _page("view.html"), "view.css": _page("view.css"), "view.js": _page("view.js")}
