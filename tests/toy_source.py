"""A server on this machine that gives encoders as the hub and torchaudio do."""

import gzip
import hashlib
import io
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from local import pretrained

ID = "some/encoder"
CONFIG = json.dumps({"model_type": "wav2vec2"}).encode()


def torch_file(**options) -> bytes:
    """1 MiB of weights."""
    stream = io.BytesIO()
    torch.save({"x": torch.arange(1 << 20, dtype=torch.uint8)}, stream, **options)
    return stream.getvalue()


WEIGHTS = torch_file()
SAFETENSORS = save({"x": torch.zeros(9)})


class Source(BaseHTTPRequestHandler):
    """Files under /<name>, as the hub gives them: ranges, and the SHA-256 of weights."""

    def do_HEAD(self):
        self._answer(send=False)

    def do_GET(self):
        self._answer(send=True)

    def _answer(self, send):
        server, asked = self.server, self.headers
        server.asked.append((self.command, self.path, asked.get("Range")))
        server.headers.append(asked)
        if self.path in server.redirects:
            self._say(307, {"Location": server.redirects[self.path]})
            return
        if self.path not in server.files:
            self._say(server.missing, {})
            return
        body = server.files[self.path]
        stated = server.stated.get(self.path, hashlib.sha256(body).hexdigest())
        said = dict(server.says)
        if "Content-Encoding" in said:
            body = gzip.compress(body)
        begin = 0
        span = re.fullmatch(r"bytes=(\d+)-", asked.get("Range") or "")
        same = asked.get("If-Range") in (None, said.get("ETag"))
        if span and server.ranges and same:
            begin = int(span[1])
        if begin and begin >= len(body):
            self._say(416, {"Content-Range": f"bytes */{len(body)}"})
            return
        said["Content-Length"] = str(len(body) - begin)
        if not self.path.endswith(".json") and stated:
            said |= {"X-Linked-ETag": f'"{stated}"', "X-Linked-Size": str(len(body))}
        if not server.sizes:
            del said["Content-Length"]
        self._say(206 if begin else 200, said)
        if send:
            self.wfile.write(body[begin : begin + server.cut] + server.more)
        self.close_connection = True

    def _say(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def serving(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """The server, and a cache in a folder of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Source)
    server.files = {
        f"/{ID}/resolve/main/config.json": CONFIG,
        f"/{ID}/resolve/main/pytorch_model.bin": WEIGHTS,
        "/bundle.pth": WEIGHTS,
    }
    server.asked, server.headers = [], []
    server.stated, server.redirects, server.says = {}, {}, {}
    server.sizes, server.more = True, b""
    server.ranges, server.cut, server.missing = True, len(WEIGHTS), 404
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("XLSR_PRETRAINED", str(cache))
    monkeypatch.setattr(pretrained, "bundle_address", lambda _: f"{address}/bundle.pth")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def received(server) -> list[str]:
    """The paths that were fetched."""
    return [path for method, path, _ in server.asked if method == "GET"]
