"""Downloading published encoders, from a server on this machine that answers as the sources do."""

import fcntl
import gzip
import hashlib
import io
import json
import logging
import os
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from espnet_local.encoder.pretrained.cache import BUNDLES, weight_files
from local import pretrained
from local.pretrained import bundle_address, download

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


@pytest.fixture
def source(tmp_path, monkeypatch):
    """The server, and the cache in a folder of its own."""
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
    monkeypatch.setenv("XLSR_PRETRAINED", str(tmp_path / "cache"))
    monkeypatch.setattr(pretrained, "bundle_address", lambda _: f"{address}/bundle.pth")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def received(server):
    return [path for method, path, _ in server.asked if method == "GET"]


@pytest.mark.parametrize("name", [ID, "WAV2VEC2_XLSR53"])
def test_a_name_is_fetched_once_with_its_sum_beside_it(source, name, monkeypatch):
    folder = download(name)
    files = weight_files(name)
    assert files[-1].read_bytes() == WEIGHTS
    assert not list(folder.glob("*.part"))
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    source.asked.clear()
    assert download(name) == folder
    assert source.asked == []


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_was_cut_goes_on_and_ends_whole(source, ranges):
    source.ranges, source.cut = ranges, 300_000
    with pytest.raises(ValueError, match=r"download failed .*put config.json and .*encoder"):
        download(ID)
    part = next((Path(os.environ["XLSR_PRETRAINED"]) / "some--encoder").glob("*.part"))
    have = part.stat().st_size
    assert 200_000 < have <= 300_000
    assert part.read_bytes() == WEIGHTS[:have]
    source.cut = len(WEIGHTS)
    source.asked.clear()
    download(ID)
    assert weight_files(ID)[-1].read_bytes() == WEIGHTS
    assert ("GET", f"/{ID}/resolve/main/pytorch_model.bin", f"bytes={have}-") in source.asked
    assert received(source) == [f"/{ID}/resolve/main/pytorch_model.bin"]


def test_what_is_not_downloaded_says_how_to_get_it(source):
    with pytest.raises(FileNotFoundError, match=f"run local/download_pretrained.sh {ID}; it bel"):
        weight_files(ID)


def test_weights_of_another_sum_than_stated_are_not_kept(source):
    source.stated[f"/{ID}/resolve/main/pytorch_model.bin"] = "0" * 64
    with pytest.raises(ValueError, match=r"pytorch_model.bin: its SHA-256 must be 0{64}, got"):
        download(ID)
    assert not list(Path(os.environ["XLSR_PRETRAINED"]).rglob("pytorch_model.bin*"))


def test_the_users_own_sum_counts_for_a_fresh_and_for_an_old_download(source):
    right = hashlib.sha256(WEIGHTS).hexdigest()
    for _ in range(2):
        with pytest.raises(ValueError, match=f"weights' SHA-256 must be 1{{64}}, got .*{right}"):
            download(ID, "1" * 64)
    download(ID, right)


def test_a_file_that_rotted_is_found(source):
    folder = download(ID)
    (folder / "pytorch_model.bin").write_bytes(WEIGHTS[1:])
    with pytest.raises(ValueError, match="pytorch_model.bin: its SHA-256 must be .*SHA256SUMS"):
        download(ID)


def test_safetensors_are_preferred(source):
    source.files[f"/{ID}/resolve/main/model.safetensors"] = SAFETENSORS
    download(ID)
    assert [path.name for path in weight_files(ID)] == ["model.safetensors"]


def test_a_model_that_is_not_there_is_one_line(source):
    with pytest.raises(ValueError, match="some/other: download failed .*404"):
        download("some/other")
    source.missing = 401
    with pytest.raises(ValueError, match="some/other: no such model, or it needs a login"):
        download("some/other")


def test_without_a_network_the_program_says_which_file_to_put_where(source, shell):
    source.shutdown()
    source.server_close()
    found = shell("local/download_pretrained.sh", ID)
    assert found.returncode == 1
    last = found.stderr.splitlines()[-1]
    assert "some/encoder: download failed" in last
    assert "put config.json and model.safetensors or pytorch_model.bin into /" in last


BIN = f"/{ID}/resolve/main/pytorch_model.bin"


@pytest.fixture
def folder(source) -> Path:
    """Where the encoder of the hub is to lie."""
    return Path(os.environ["XLSR_PRETRAINED"]) / "some--encoder"


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else None


def test_the_hub_alone_is_shown_the_token(source, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    download("WAV2VEC2_XLSR53")
    assert source.headers
    assert {headers.get("Authorization") for headers in source.headers} == {None}
    source.headers.clear()
    download(ID)
    assert {headers.get("Authorization") for headers in source.headers} == {"Bearer secret"}
    assert "secret" not in repr(pretrained._hub(ID))


@pytest.mark.parametrize("name", [ID, "WAV2VEC2_XLSR53"])
def test_a_web_page_in_the_place_of_a_file_is_not_kept(source, name):
    right = dict(source.files)
    source.says = {"Content-Type": "text/html; charset=utf-8"}
    source.files = dict.fromkeys(right, b"<html>Please log in</html>")
    with pytest.raises(ValueError, match="is a web page, not the file; does a proxy"):
        download(name)
    assert list(Path(os.environ["XLSR_PRETRAINED"]).glob("[!.]*")) == []
    source.says, source.files = {}, right
    download(name)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("config.json", b"<html>", "config.json is not readable as JSON"),
        ("config.json", b"[]", "config.json must be a JSON object with a model_type"),
        ("pytorch_model.bin", b"<html>", "pytorch_model.bin is no whole torch file"),
        ("pytorch_model.bin", WEIGHTS[:-100], "pytorch_model.bin is no whole torch file"),
        ("pytorch_model.bin", b"", "pytorch_model.bin is no whole torch file"),
        ("model.safetensors", b"<html></html>", "model.safetensors is no whole safetensors file"),
        ("model.safetensors", SAFETENSORS[:-4], "model.safetensors is no whole safetensors file"),
        ("model.safetensors", SAFETENSORS[:20], "model.safetensors is no whole safetensors file"),
        ("model.safetensors", SAFETENSORS[:8], "model.safetensors is no whole safetensors file"),
    ],
)
def test_what_is_no_encoder_never_gets_its_final_name(source, folder, path, content, message):
    source.files[f"/{ID}/resolve/main/{path}"] = content
    with pytest.raises(ValueError, match=f"{path}: {message}.*; removed"):
        download(ID)
    assert files(folder) in (None, ["config.json.part"])


def test_weights_of_before_torch_1_6_are_weights(source):
    source.files[BIN] = torch_file(_use_new_zipfile_serialization=False)
    download(ID)


def test_what_is_no_encoder_in_an_old_download_is_found(source, folder):
    download(ID)
    (folder / "SHA256SUMS").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="some--encoder: pytorch_model.bin is no whole torch file"):
        download(ID)


@pytest.mark.parametrize("host", ["", "the address"])
def test_a_renamed_model_is_followed_with_its_sums(source, host):
    """The hub answers 307 with a relative address, and 404 for a file that is not there then."""
    address = os.environ["HF_ENDPOINT"] if host else ""
    for file in ("config.json", "model.safetensors", "pytorch_model.bin"):
        source.redirects[f"/old/name/resolve/main/{file}"] = f"{address}/{ID}/resolve/main/{file}"
    source.stated[BIN] = "0" * 64
    with pytest.raises(ValueError, match="pytorch_model.bin: its SHA-256 must be 0{64}"):
        download("old/name")
    del source.stated[BIN]
    download("old/name")
    assert weight_files("old/name")[0].read_bytes() == WEIGHTS


def test_a_redirect_to_another_host_is_the_file_and_is_shown_no_token(source, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    elsewhere = os.environ["HF_ENDPOINT"].replace("127.0.0.1", "localhost")
    source.files["/bytes"] = source.files.pop(BIN)
    source.redirects[BIN] = f"{elsewhere}/bytes"
    download(ID)
    assert ("HEAD", "/bytes", None) not in source.asked
    there = [h for a, h in zip(source.asked, source.headers) if a[1] == "/bytes"]
    assert [headers.get("Authorization") for headers in there] == [None]


def test_redirects_in_a_circle_end(source):
    source.redirects[f"/{ID}/resolve/main/config.json"] = f"/{ID}/resolve/main/config.json"
    with pytest.raises(ValueError, match="download failed .*more than 10 redirects"):
        download(ID)


@pytest.mark.parametrize(("name", "said"), [(ID, 0), ("WAV2VEC2_XLSR53", 1)])
def test_a_source_without_a_sum_is_said(source, name, said, caplog):
    with caplog.at_level(logging.WARNING):
        download(name)
    assert caplog.text.count("states no SHA-256") == said


def test_another_sum_than_the_users_gives_no_file_its_name(source, folder):
    for wrong in ("1" * 64, hashlib.sha256(CONFIG).hexdigest()):
        with pytest.raises(ValueError, match=r"SHA-256 must be .* remove .*pytorch_model.bin.part"):
            download(ID, wrong)
        assert files(folder) == ["config.json.part", "pytorch_model.bin.part"]
    source.asked.clear()
    download(ID, hashlib.sha256(WEIGHTS).hexdigest())
    assert received(source) == []
    with pytest.raises(ValueError, match="SHA-256 must be"):
        download(ID, hashlib.sha256(CONFIG).hexdigest())


def test_the_users_sum_counts_for_files_of_their_own_too(tmp_path):
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/pytorch_model.bin").write_bytes(WEIGHTS)
    (tmp_path / "xlsr.pt").write_bytes(WEIGHTS)
    for name in ("hf", "xlsr.pt"):
        place = str(tmp_path / name)
        assert download(place) == Path(place)
        assert download(place, hashlib.sha256(WEIGHTS).hexdigest()) == Path(place)
        with pytest.raises(ValueError, match=f"{name}: the weights' SHA-256 must be 1{{64}}, got"):
            download(place, "1" * 64)
    (tmp_path / "hf/pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match="hf: must hold model.safetensors or pytorch_model.bin"):
        download(str(tmp_path / "hf"))


def begun(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "pytorch_model.bin.part").write_bytes(content)


def gets(source):
    return [(path, span) for method, path, span in source.asked if method == "GET" and path == BIN]


def test_a_whole_part_is_not_fetched_again(source, folder):
    begun(folder, WEIGHTS)
    download(ID)
    assert gets(source) == []


def test_a_part_longer_than_the_file_is_fetched_anew(source, folder):
    begun(folder, WEIGHTS + b"more")
    download(ID)
    assert gets(source) == [(BIN, None)]
    assert weight_files(ID)[0].read_bytes() == WEIGHTS


def test_a_part_that_grew_too_long_is_not_kept(source, folder):
    begun(folder, WEIGHTS[:99])
    (folder / "config.json").write_bytes(CONFIG)
    source.sizes, source.more = False, b"more"
    with pytest.raises(ValueError, match=f"got {len(WEIGHTS) + 4} of {len(WEIGHTS)} bytes"):
        download(ID)
    assert files(folder) == ["config.json"]


@pytest.mark.parametrize("more", [b"", b"more"])
def test_a_part_that_nothing_follows_is_fetched_anew(source, folder, more):
    """The size is not known: the source answers 416."""
    begun(folder, WEIGHTS + more)
    source.sizes, source.stated[BIN] = False, ""
    download(ID)
    assert gets(source) == [(BIN, f"bytes={len(WEIGHTS + more)}-"), (BIN, None)]
    assert weight_files(ID)[0].read_bytes() == WEIGHTS


def test_a_file_that_changed_meanwhile_is_fetched_anew(source, folder):
    source.says, source.cut = {"ETag": '"first"'}, 300_000
    with pytest.raises(ValueError, match="download failed"):
        download(ID)
    source.cut = len(WEIGHTS)
    source.says = {"ETag": '"second"'}
    source.files[BIN] = torch_file(_use_new_zipfile_serialization=False)
    download(ID)
    assert weight_files(ID)[0].read_bytes() == source.files[BIN]
    assert files(folder) == ["SHA256SUMS", "config.json", "pytorch_model.bin"]


def test_files_are_asked_for_as_they_are(source):
    download(ID)
    assert {headers.get("Accept-Encoding") for headers in source.headers} == {"identity"}
    source.says = {"Content-Encoding": "gzip"}
    with pytest.raises(ValueError, match="bundle.pth comes as gzip, not as it is"):
        download("WAV2VEC2_XLSR53")


def test_a_second_download_at_once_says_so(source, folder):
    folder.parent.mkdir()
    with (folder.parent / ".some--encoder.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="some--encoder: another download is writing into it"):
            download(ID)
        download("WAV2VEC2_XLSR53")
    download(ID)


def test_a_download_that_failed_leaves_no_empty_folder(source, folder):
    source.files.clear()
    for name in (ID, "WAV2VEC2_XLSR53"):
        with pytest.raises(ValueError, match="download failed .*404"):
            download(name)
    assert list(folder.parent.glob("[!.]*")) == []


def test_an_empty_name_is_refused(shell):
    found = shell("local/download_pretrained.sh", "")
    assert found.returncode == 1
    assert "must not be empty" in found.stderr.splitlines()[-1]


def test_the_addresses_are_torchaudios():
    import torchaudio

    for name, file in BUNDLES.items():
        assert getattr(torchaudio.pipelines, name)._path == file
        address = bundle_address(name)
        assert address.startswith("https://")
        assert address.endswith(f"/{file}")
