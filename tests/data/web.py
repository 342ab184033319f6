"""A web server on this machine, with Range requests and connections that break off."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Web:
    """`files` by path; `break_after` bytes of the next answers; `requests`: (path, Range header) as they came."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.version = "1"
        self.break_after: list[int] = []
        self.requests: list[tuple[str, str | None]] = []
        self.address = ""

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.requests.append((request.path, wanted))
        content = self.files.get(request.path)
        if content is None:
            request.send_error(404)
            return
        start, tag = 0, f'"{self.version}"'
        if wanted and request.headers.get("If-Range") == tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                request.send_error(416)
                return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(content) - start))
        request.send_header("ETag", tag)
        request.end_headers()
        stop = self.break_after.pop(0) if self.break_after else len(content)
        request.wfile.write(content[start : start + stop])
        request.close_connection = True


@contextmanager
def serving() -> Iterator[Web]:
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
