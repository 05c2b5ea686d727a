"""Downloads from sources that answer otherwise than they should, and what is begun already."""

import fcntl
import hashlib
import logging
import os
from pathlib import Path

import pytest
from toy_source import CONFIG, ID, SAFETENSORS, WEIGHTS, received, serving, torch_file

from espnet_local.encoder.pretrained.cache import weight_files
from local import pretrained
from local.pretrained import download


@pytest.fixture
def source(tmp_path, monkeypatch):
    with serving(tmp_path / "cache", monkeypatch) as server:
        yield server


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
