"""A package index on this machine's loopback, over a folder of packages that a test makes."""

from __future__ import annotations

import contextlib
import http.server
import re
import threading
from collections.abc import Iterator
from pathlib import Path


class Index(http.server.ThreadingHTTPServer):
    """Serves `/simple/NAME/`, whose links lead to `/files/` of this server, or of the one at `files`."""

    daemon_threads = True

    def __init__(self, folder: Path, files: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.files = files

    @property
    def host(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        """What the settings of pip and uv take."""
        return f"http://{self.host}/simple"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Index

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        _, kind, name = self.path.rstrip("/").split("/")
        if kind == "files":
            return self._say((self.server.folder / name).read_bytes(), "application/octet-stream")
        found = [path.name for path in self.server.folder.iterdir() if _project(path.name) == name]
        links = "".join(f'<a href="{self.server.files}/files/{file}">{file}</a>\n' for file in found)
        return self._say(f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html")

    def _say(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


def _project(file: str) -> str:
    return re.sub("[-_.]+", "-", file.partition("-")[0])


@contextlib.contextmanager
def serving(folder: Path, files: str = "") -> Iterator[Index]:
    """An index for as long as the block runs."""
    with Index(folder, files) as index:
        thread = threading.Thread(target=index.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield index
        finally:
            index.shutdown()
            thread.join()
