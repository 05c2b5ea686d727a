"""Downloading published encoders: once, resumed, checked."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from toy_source import ID, SAFETENSORS, WEIGHTS, received, serving

from espnet_local.encoder.pretrained.cache import BUNDLES, weight_files
from local.pretrained import bundle_address, download


@pytest.fixture
def source(tmp_path, monkeypatch):
    with serving(tmp_path / "cache", monkeypatch) as server:
        yield server


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


def test_the_addresses_are_torchaudios():
    import torchaudio

    for name, file in BUNDLES.items():
        assert getattr(torchaudio.pipelines, name)._path == file
        address = bundle_address(name)
        assert address.startswith("https://")
        assert address.endswith(f"/{file}")
