"""Common Voice as the tar that one downloads."""

import gzip
import io
import os
import shutil
import tarfile

import pytest
from toy_commonvoice import RELEASE, make_commonvoice, pack, prepare
from toy_lhotse import excluded

from espnet_local.stamp import clear_stamp
from local.corpora.utterance import SETS
from local.corpora.validate import validate


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_tar_gives_what_its_folder_gives_and_is_taken_out_once(tmp_path, capsys, suffix):
    folder = make_commonvoice(tmp_path)
    archive = pack(folder, tmp_path / f"et.{suffix}")
    prepare(tmp_path, folder)
    expected = {n: (tmp_path / "out" / n / "text").read_text() for n in SETS}
    reasons = [reason.rsplit("/", 1)[-1] for reason in excluded(tmp_path / "out/train").values()]
    out = prepare(tmp_path, archive)
    assert {n: (out / n / "text").read_text() for n in SETS} == expected
    found = [reason.rsplit("/", 1)[-1] for reason in excluded(out / "train").values()]
    assert found == reasons
    clips = {path.name for path in (out / ".source/release/clips").iterdir()}
    assert "common_voice_et_17000001.mp3" in clips
    assert not clips & {"common_voice_et_17000021.mp3", "digits.mp3"}  # other sets, left out
    capsys.readouterr()
    prepare(tmp_path, archive)
    assert "unchanged, skipped: out/dev" in capsys.readouterr().err
    prepare(tmp_path, archive, "--audio_format", "wav")
    assert "unchanged, skipped: " + f"{out}/.source/release" in capsys.readouterr().err


def test_an_extraction_that_was_killed_goes_on(tmp_path, monkeypatch):
    archive = pack(make_commonvoice(tmp_path), tmp_path / "et.tar.gz")
    copy, copied = shutil.copyfileobj, []

    def die_at_the_tenth(stream, target):
        copied.append(target.name)
        if len(copied) == 10:
            target.write(b"half")
            raise KeyboardInterrupt
        copy(stream, target)

    monkeypatch.setattr("local.corpora.cv_archive.shutil.copyfileobj", die_at_the_tenth)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, archive)
    prepare(tmp_path, archive)
    assert len(copied) == len(set(copied)) + 1  # only the one that was cut comes again
    assert validate(tmp_path / "out/train").utterances == 12


def test_a_tar_that_is_cut_is_one_line_and_another_in_its_place_is_taken(tmp_path):
    archive = pack(make_commonvoice(tmp_path), tmp_path / "et.tar.gz")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"et.tar.gz is cut or no tar: .*; download it again"):
        prepare(tmp_path, archive)
    assert not (tmp_path / "out/train").exists()
    archive.write_bytes(whole)
    assert validate(prepare(tmp_path, archive) / "train").utterances == 12


def test_a_tar_that_is_damaged_at_a_header_or_cut_between_members_is_said(tmp_path):
    archive = pack(make_commonvoice(tmp_path, defects=False), tmp_path / "et.tar")
    whole = archive.read_bytes()
    with tarfile.open(archive) as stream:
        members = stream.getmembers()
    last = members[-1]
    end = last.offset_data + (last.size + 511) // 512 * 512
    middle = members[len(members) // 2].offset
    for bad in (
        whole[:middle] + b"\7" * 512 + whole[middle + 512 :],
        whole[:middle],
        whole[: middle + 300],
        whole[:end],
        whole[: end + 512],
    ):
        archive.write_bytes(bad)
        with pytest.raises(ValueError, match=r"et.tar is cut or no tar: .*; download it again"):
            prepare(tmp_path, archive)
    packed = gzip.compress(whole)
    (tmp_path / "et.tar.gz").write_bytes(packed[:-8] + b"\0\0\0\0" + packed[-4:])
    with pytest.raises(ValueError, match="CRC check failed"):
        prepare(tmp_path, tmp_path / "et.tar.gz")


def test_files_of_the_same_name_elsewhere_in_a_tar_are_not_taken(tmp_path):
    folder = make_commonvoice(tmp_path, defects=False)
    archive = pack(folder, tmp_path / "et.tar")
    texts = {n: (prepare(tmp_path, archive) / n / "text").read_text() for n in SETS}
    clip = "common_voice_et_17000001.mp3"
    with tarfile.open(archive, "a") as stream:
        for name in (
            f"{RELEASE}/de/train.tsv", f"{RELEASE}/et/backup/train.tsv",
            f"{RELEASE}/et/clips/train.tsv", f"{RELEASE}/de/clips/{clip}",
            f"{RELEASE}/et/{clip}", f"{RELEASE}/et/clips/old/{clip}", clip,
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = 3
            stream.addfile(info, io.BytesIO(b"bad"))
    out = prepare(tmp_path, archive)
    assert {n: (out / n / "text").read_text() for n in SETS} == texts
    taken = out / ".source/release"
    assert (taken / "clips" / clip).read_bytes() == (folder / "clips" / clip).read_bytes()
    assert (taken / "train.tsv").read_bytes() == (folder / "train.tsv").read_bytes()


def test_an_extraction_renews_a_file_of_another_size_and_all_of_another_tar(tmp_path):
    archive = pack(make_commonvoice(tmp_path, defects=False), tmp_path / "et.tar")
    release = prepare(tmp_path, archive) / ".source/release"
    clip = release / "clips/common_voice_et_17000001.mp3"
    whole = clip.read_bytes()
    clip.write_bytes(whole[:100])
    (release / "clips/stray.mp3").touch()
    clear_stamp(release)
    clear_stamp(tmp_path / "out")
    prepare(tmp_path, archive)
    assert clip.read_bytes() == whole
    assert (release / "clips/stray.mp3").exists()
    os.utime(archive, ns=(1, 1))
    prepare(tmp_path, archive)
    assert clip.read_bytes() == whole
    assert not (release / "clips/stray.mp3").exists()


def test_a_tar_whose_names_lead_out_of_it_is_refused(tmp_path):
    with tarfile.open(tmp_path / "bad.tar", "w") as archive:
        info = tarfile.TarInfo("../../et/train.tsv")
        info.size = 3
        archive.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(ValueError, match=r"bad.tar: .*outside the destination"):
        prepare(tmp_path, tmp_path / "bad.tar")
    assert not (tmp_path / "out").exists()
