"""Reading audio from files and archives: scale, and every way in which it can be bad."""

import kaldiio
import numpy as np
import pytest
import soundfile

from espnet_local.audio import AudioFile, AudioReader, audio_info, read_any_rate, read_audio

RATE = 16_000
PCM = np.array([0, 1, -1, 16384, -32768, 32767] * 50, np.int16)
EXPECTED = PCM.astype(np.float32) / 32768


def archive(path, write_kwargs=None, **utterances):
    kwargs = {"write_function": "soundfile", "write_kwargs": write_kwargs} if write_kwargs else {}
    kaldiio.save_ark(str(path), utterances, scp=f"{path}.scp", **kwargs)
    return dict(line.split() for line in open(f"{path}.scp"))


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_file_is_scaled_to_one(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, PCM, RATE, subtype="PCM_16")
    samples = read_audio(str(path))
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, EXPECTED)


@pytest.mark.parametrize("kwargs", [None, {"format": "flac"}, {"format": "wav"}])
def test_each_entry_of_an_archive_is_scaled_to_one(tmp_path, kwargs):
    values = archive(tmp_path / "a.ark", kwargs, a=(RATE, PCM[:100]), b=(RATE, PCM))
    np.testing.assert_array_equal(read_audio(values["a"]), EXPECTED[:100])
    np.testing.assert_array_equal(read_audio(values["b"]), EXPECTED)


def test_a_reader_is_a_mapping_over_a_wav_scp(tmp_path):
    soundfile.write(tmp_path / "a.wav", PCM, RATE)
    (tmp_path / "wav.scp").write_text(f"u1 {tmp_path}/a.wav\nu2 {tmp_path}/none.wav\n")
    reader = AudioReader(tmp_path / "wav.scp")
    assert list(reader) == ["u1", "u2"]
    assert len(reader) == 2
    np.testing.assert_array_equal(reader["u1"], EXPECTED)
    with pytest.raises(FileNotFoundError, match=r"none\.wav"):
        reader["u2"]
    with pytest.raises(KeyError):
        reader["u3"]


def test_espnets_kaldi_ark_type_leaves_integers_where_ours_scales(tmp_path):
    values = archive(tmp_path / "a.ark", None, a=(RATE, PCM))
    assert kaldiio.load_mat(values["a"])[1].max() == 32767
    assert read_audio(values["a"]).max() < 1


def test_another_rate_is_an_error_unless_any_will_do(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, PCM, 8000)
    with pytest.raises(ValueError, match=r"a\.wav: 8000 Hz, expected 16000 Hz"):
        read_audio(str(path))
    assert read_any_rate(str(path)).sample_rate == 8000


def test_stereo_is_an_error(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([PCM, PCM], axis=1), RATE)
    with pytest.raises(ValueError, match=r"a\.wav: 2 channels, expected 1"):
        read_audio(str(path))


@pytest.mark.parametrize(("kept", "reason"), [(0, "empty file"), (20, "not readable|truncated")])
def test_a_file_cut_in_its_head_is_an_error(tmp_path, kept, reason):
    path = tmp_path / "a.wav"
    soundfile.write(path, PCM, RATE)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"a\.wav: ({reason})"):
        read_audio(str(path))


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_file_cut_in_its_samples_is_an_error(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(-3000, 3000, 20_000).astype(np.int16)
    soundfile.write(path, noise, RATE)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=rf"a\.{suffix}: (truncated|not readable)"):
        read_audio(str(path))


def test_a_wav_written_to_a_pipe_has_no_known_length_and_is_no_error(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, PCM, RATE)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"data") + 4
    raw[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    np.testing.assert_array_equal(read_audio(str(path)), EXPECTED)


def test_a_file_without_samples_and_a_file_that_is_no_audio_are_errors(tmp_path):
    soundfile.write(tmp_path / "a.wav", PCM[:0], RATE)
    with pytest.raises(ValueError, match=r"a\.wav: empty audio"):
        read_audio(str(tmp_path / "a.wav"))
    (tmp_path / "b.wav").write_text("hello, I am a text")
    with pytest.raises(ValueError, match=r"b\.wav: not readable as audio"):
        read_audio(str(tmp_path / "b.wav"))


@pytest.mark.parametrize("kwargs", [None, {"format": "flac"}])
def test_a_cut_archive_and_a_wrong_offset_are_errors(tmp_path, kwargs):
    path = tmp_path / "a.ark"
    values = archive(path, kwargs, a=(RATE, PCM))
    with pytest.raises(ValueError, match=r"a\.ark:1: neither AUDIO nor RIFF"):
        read_audio(f"{path}:1")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\.ark:2: truncated"):
        read_audio(values["a"])


@pytest.mark.parametrize("decode", [False, True])
def test_the_header_tells_length_rate_and_channels_wherever_the_audio_lies(tmp_path, decode):
    long = np.tile(PCM, 300)
    for suffix in ("wav", "flac", "ogg", "mp3"):
        path = tmp_path / f"a.{suffix}"
        soundfile.write(path, np.stack([long, long], axis=1), 8000)
        assert audio_info(str(path), decode) == (len(long), 8000, 2)
    values = archive(tmp_path / "a.ark", {"format": "flac"}, a=(RATE, PCM), b=(RATE, long))
    values["c"] = archive(tmp_path / "b.ark", None, x=(RATE, PCM), c=(RATE, long))["c"]
    lengths = {name: audio_info(value, decode).frames for name, value in values.items()}
    assert lengths == {"a": len(PCM), "b": len(long), "c": len(long)}


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3"])
def test_a_piece_of_one_channel_is_what_stands_there_in_the_whole(tmp_path, suffix):
    path = str(tmp_path / f"a.{suffix}")
    sides = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000, 2))
    soundfile.write(path, sides, 48_000)
    stream = AudioFile(path, 1)
    whole = read_any_rate(path, 1).samples
    assert (stream.sample_rate, stream.length_samples) == (48_000, len(whole))
    for start, stop in ((30_000, 40_000), (0, 10), (47_000, 90_000)):
        np.testing.assert_allclose(stream.read(start, stop), whole[start:stop], atol=1e-6)
    assert not np.allclose(whole, read_any_rate(path, 0).samples, atol=0.1)


def test_a_channel_must_be_there_and_be_said_where_there_are_several(tmp_path):
    path = str(tmp_path / "a.wav")
    soundfile.write(path, np.stack([PCM, PCM], axis=1), RATE)
    for reader in (AudioFile, read_any_rate):
        with pytest.raises(ValueError, match=r"a\.wav: 2 channels, expected 1"):
            reader(path)
        with pytest.raises(ValueError, match=r"a\.wav: no channel 2, it has 2"):
            reader(path, 2)


def test_of_a_wav_cut_short_the_pieces_before_its_end_are_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.tile(PCM, 100), RATE)
    path.write_bytes(path.read_bytes()[: 44 + 2 * 20_000])
    stream = AudioFile(str(path))
    np.testing.assert_array_equal(
        stream.read(19_700, 20_000) * 32768, PCM[200:].tolist() + PCM[:200].tolist()
    )
    for stop in (20_001, 30_000, None):
        with pytest.raises(ValueError, match=r"a\.wav: truncated, 20000 bytes short"):
            stream.read(0, stop)


def test_a_file_whose_name_looks_like_a_place_in_an_archive_is_a_file(tmp_path):
    soundfile.write(tmp_path / "take:12", PCM, RATE, format="wav")
    np.testing.assert_array_equal(read_audio(f"{tmp_path}/take:12"), EXPECTED)


def test_a_piece_that_the_file_no_longer_holds_is_an_error(tmp_path):
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(0).integers(-3000, 3000, 80_000).astype(np.int16)
    soundfile.write(path, noise, RATE)
    path.write_bytes(path.read_bytes()[:-40_000])
    stream = AudioFile(str(path))
    np.testing.assert_array_equal(stream.read(0, 4000) * 32768, noise[:4000])
    with pytest.raises(ValueError, match=r"a\.flac: (truncated|not readable)"):
        stream.read(70_000, 80_000)
