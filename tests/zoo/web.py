"""An internet for tests: a server on this machine that misbehaves as it is told."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Reply:
    """How one request is answered; `cut`, `stall` and `pace` concern the bytes of the body."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str | None = '"one"'
    ranges: bool = True
    """Answer Range requests with 206."""
    if_range: bool = True
    """Send the whole file if the version asked for is not this one."""
    length: int | None = None
    """Content-Length to announce instead of the true one; -1 for none."""
    cut: int | None = None
    """Close the connection after so many bytes."""
    stall: int | None = None
    """Send nothing more after so many bytes, but keep the connection open."""
    pace: int | None = None
    """Send so many bytes at a time, 20 times in a second."""
    chunked: bool = False


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    sent: int = 0


class Web:
    """A server; `replies` of a path are used up one by one, the last of them again and again."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {}
        self.requests: list[Request] = []
        self.closed = threading.Event()
        self.outwaited = False  # a client was more patient with a stall than any should be
        self._lock = threading.Lock()
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web._answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # the client went away
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> "Web":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def home(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def serve(self, path: str, *replies: Reply) -> str:
        """Answer `path` with these replies and return its address."""
        self.replies[path] = list(replies)
        return self.home + path

    def ranges(self) -> Sequence[str | None]:
        """List the Range header of every request, in order."""
        return [request.headers.get("range") for request in self.requests]

    def _next_reply(self, path: str) -> Reply:
        with self._lock:
            replies = self.replies.get(path, [Reply(b"no such file", 404)])
            return replies.pop(0) if len(replies) > 1 else replies[0]

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        request = Request(handler.path, {k.lower(): v for k, v in handler.headers.items()})
        with self._lock:
            self.requests.append(request)
        reply = self._next_reply(handler.path.partition("?")[0])
        status, body, headers = _ranged(reply, request)
        handler.close_connection = True
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        if handler.command == "GET":
            self._send(handler, reply, body, request)

    def _send(
        self, handler: BaseHTTPRequestHandler, reply: Reply, body: bytes, request: Request
    ) -> None:
        stop = min(x for x in (reply.cut, reply.stall, len(body)) if x is not None)
        step = reply.pace or max(stop, 1)
        for start in range(0, stop, step):
            piece = body[start : min(start + step, stop)]
            if reply.chunked:
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            else:
                handler.wfile.write(piece)
            handler.wfile.flush()
            request.sent += len(piece)
            if reply.pace and self.closed.wait(0.05):
                return
        if reply.stall is not None:
            self.outwaited = not self.closed.wait(10)
        elif reply.chunked and reply.cut is None:
            handler.wfile.write(b"0\r\n\r\n")


def _ranged(reply: Reply, request: Request) -> tuple[int, bytes, dict[str, str]]:
    """Work out status, body and headers as RFC 9110 has it."""
    status, body, headers = reply.status, reply.body, {"Date": formatdate(usegmt=True)}
    asked = request.headers.get("range", "")
    matches = not reply.if_range or request.headers.get("if-range", reply.etag) == reply.etag
    if asked and reply.ranges and matches and status == 200:
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        status, size = (206 if start < len(body) else 416), len(body)
        headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        if status == 416:
            headers["Content-Range"] = f"bytes */{size}"
        body = body[start:]
    if reply.etag is not None:
        headers["ETag"] = reply.etag
    if reply.chunked:
        headers["Transfer-Encoding"] = "chunked"
    elif reply.length != -1:
        headers["Content-Length"] = str(len(body) if reply.length is None else reply.length)
    headers["Content-Type"] = "application/octet-stream"
    return status, body, headers | reply.headers
