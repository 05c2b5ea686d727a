"""Validation of directories whose recordings hold several utterances."""

import pytest
from toy_data_dir import TEXT, check, edit, noise, wav

from espnet_local.files import read_table, write_table
from local.corpora.report import Report
from local.corpora.writer import invert
from local.validate_data import check_folder


@pytest.fixture
def segmented(tmp_path):
    """Two recordings of 4 s, of which one holds two utterances."""
    folder = tmp_path / "segmented"
    folder.mkdir()
    for name in ("rec1", "rec2"):
        wav(folder, name, noise(4))
    write_table(folder / "wav.scp", {name: folder / f"{name}.wav" for name in ("rec1", "rec2")})
    # Sorted by utterance, the recordings are not.
    segments = {"s1-a": "rec2 0 1.5", "s1-b": "rec1 2 -1", "s2-c": "rec2 1.5 4.3"}
    write_table(folder / "segments", segments)
    write_table(folder / "text", dict.fromkeys(segments, TEXT))
    write_table(folder / "utt2spk", {name: name[:2] for name in segments})
    write_table(folder / "spk2utt", invert(read_table(folder / "utt2spk")))
    # The last ends 0.3 s after its recording and is cut there; others may round otherwise.
    write_table(folder / "utt2num_samples", {"s1-a": 24_001, "s1-b": 32_000, "s2-c": 40_000})
    return folder


def test_segments_that_are_clean_pass(segmented):
    report = Report(folder=segmented)
    check_folder(report, tokenizer=None, expected=None, nj=1, decode=False)
    assert report.found == {}
    assert (report.utterances, report.seconds) == (3, 1.5 + 2 + 2.5)


@pytest.mark.parametrize(
    ("segment", "name", "message"),
    [
        (
            "rec2 3 4.6",
            "beyond recording",
            "s2-c: segment is 3.0 to 4.6 s, its recording ends at 4.00 s",
        ),
        (
            "rec2 4.1 -1",
            "beyond recording",
            "s2-c: segment is 4.1 to its end s, its recording ends at 4.00 s",
        ),
        (
            "rec2 1e308 1.5e308",
            "beyond recording",
            "s2-c: segment is 1e+308 to 1.5e+308 s, its recording ends at 4.00 s",
        ),
        ("rec2 3 2", "bad segment", "segments: s2-c: starts at 3 s, ends at 2 s"),
        ("rec2 nan 2", "bad segment", "segments: s2-c: starts at nan s, ends at 2 s"),
        (
            "rec2 3",
            "bad segment",
            "segments: s2-c: must be <recording> <start s> <end s>, got 'rec2 3'",
        ),
        ("rec3 0 1", "different ids", "segments: s2-c: no recording rec3 in wav.scp"),
        (
            "rec2 0 1",
            "length differs",
            "s2-c: utt2num_samples says 40000 samples, the audio has 16000 at 16000 Hz",
        ),
    ],
)
def test_each_bad_segment_is_named(segmented, segment, name, message):
    edit(segmented, "segments", s2_c=segment)
    assert check(segmented) == {name: [message]}


@pytest.mark.parametrize(("samples", "differs"), [(15_997, False), (15_996, True)])
def test_a_segments_ends_are_rounded_and_its_length_may_differ_by_two(segmented, samples, differs):
    edit(segmented, "segments", s2_c="rec2 1.00004 2")  # from sample 16000.64
    edit(segmented, "utt2num_samples", s2_c=str(samples))
    assert list(check(segmented)) == ["length differs"] * differs


def test_a_recording_without_a_segment_is_a_remark(segmented):
    edit(segmented, "segments", s1_b="rec2 2 -1")
    assert check(segmented) == {"unused recording": ["wav.scp: no segment is of recording rec1"]}


def test_a_recording_that_is_gone_is_told_of_each_of_its_utterances(segmented):
    (segmented / "rec2.wav").unlink()
    assert [m.split(":")[0] for m in check(segmented)["no audio"]] == ["s1-a", "s2-c"]
