"""AMI with files that are cut, linked, doubled or damaged, and annotations that contradict."""

import re
import zipfile

import pytest
import soundfile
from toy_ami import LENGTH_S, RATE, Speaker, excluded_of_those_there, make_ami, prepare
from toy_lhotse import noise

from espnet_local.files import read_table
from local.corpora.ami import AmiCorpus

MEETINGS_FILE = "ami_public_manual_1.6.2/corpusResources/meetings.xml"


@pytest.fixture
def folder(tmp_path):
    return make_ami(tmp_path / "ami", defects=False)


def edit(path, *changes):
    text = path.read_bytes()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path.write_bytes(text)


def speakers_of(folder, meeting, edited):
    """Changes what meetings.xml says of the speakers of a meeting."""
    path = folder / MEETINGS_FILE
    text = path.read_text()
    old = re.search(f'observation="{meeting}">.*?</meeting>', text)[0]
    path.write_text(text.replace(old, edited(old)))


def test_a_headset_that_is_cut_short_takes_nothing_from_the_others(tmp_path, folder):
    path = folder / "wav_db/ES2002a/audio/ES2002a.Headset-0.wav"
    path.write_bytes(path.read_bytes()[: 44 + 2 * round(7.6 * RATE)])
    out = prepare(tmp_path, folder)
    assert excluded_of_those_there(out / "train") == {
        "ES2002a-0-1": f"{path}: truncated, 716800 bytes short of what its header says",
        "ES2002a-0-2": "segment ends at 10.2 s, its recording at 7.60 s",
        "ES2002a-0-3": "segment ends at 11.7 s, its recording at 7.60 s",
        "ES2002a-0-4": "segment ends at 19.2 s, its recording at 7.60 s",
    }
    assert len(read_table(out / "train/text")) == 36


@pytest.mark.parametrize("mic", ["ihm", "sdm"])
@pytest.mark.parametrize("attribute", ["nxt_agent", "global_name", "channel"])
def test_speakers_that_nothing_tells_apart_are_listed_and_the_others_stay(tmp_path, mic, attribute):
    folder = make_ami(tmp_path / "ami", defects=False, mic=mic)

    def merged(text):
        first, second = re.findall(f'{attribute}="(.*?)"', text)[:2]
        return text.replace(f'{attribute}="{second}"', f'{attribute}="{first}"', 1)

    speakers_of(folder, "ES2002a", merged)
    out = prepare(tmp_path, folder, "--mic", mic)
    found = excluded_of_those_there(out / "train")
    listed = {key: reason for key, reason in found.items() if "Headset" not in key}
    letters = "A" if attribute == "nxt_agent" else "AB"
    assert listed.keys() == {f"ES2002a.{letter}" for letter in letters}
    assert all(f"several speakers with {attribute} " in reason for reason in listed.values())
    assert len(read_table(out / "train/text")) == 30
    kept = {v for k, v in read_table(out / "train/utt2spk").items() if k.startswith("ES2002a")}
    assert kept == {"MEE002", "FEE003"}


def test_folders_behind_links_are_seen_and_a_loop_ends(tmp_path, folder):
    (folder / "wav_db/EN2001a").rename(tmp_path / "elsewhere")
    (folder / "wav_db/EN2001a").symlink_to(tmp_path / "elsewhere")
    (folder / "wav_db/loop").symlink_to(folder)
    assert len(read_table(prepare(tmp_path, folder) / "train/text")) == 40


def test_of_two_files_of_one_headset_that_in_its_usual_place_is_taken(tmp_path, folder, caplog):
    usual = folder / "wav_db/ES2002a/audio/ES2002a.Headset-0.wav"
    (folder / "bak").mkdir()
    soundfile.write(folder / "bak" / usual.name, noise(LENGTH_S - 1, 99), RATE)
    corpus = AmiCorpus(folder=folder)
    assert corpus._audio["ES2002a"][0] == usual
    assert f"{usual.name} is there twice: taking {usual}, not" in caplog.text
    (folder / "other").mkdir()
    usual.rename(folder / "other" / usual.name)
    with pytest.raises(ValueError, match=r"bak/ES.* and .*other/ES2002a.Headset-0.wav differ"):
        AmiCorpus(folder=folder)


def test_words_that_lose_letters_are_listed_and_space_around_words_is_none(tmp_path, folder):
    path = folder / "ami_public_manual_1.6.2/words/ES2002a.A.words.xml"
    edit(path, (b">Okay<", b">\n Okay \n<"), (b">.<", b"> . <"), (b">great<", b">@<"),
         (b">cafe<", ">caf\u00e9<".encode("iso-8859-1")))  # fmt: skip
    out = prepare(tmp_path, folder)
    assert excluded_of_those_there(out / "train") == {
        "ES2002a.A.words19": "word 'caf\u00e9' is written 'CAF'",
        "ES2002a.A.words22": "word '@' is written ''",
    }
    texts = read_table(out / "train/text")
    said = [texts[f"ES2002a-0-{number}"] for number in range(5)]
    assert said == ["OKAY", "HI I'M DAVID", "THAT'S A T V REMOTE", "MM-HMM", "UM THE CAF IS GR"]


@pytest.mark.parametrize("encoding", ["GBK", "UTF-99"])
def test_annotations_in_an_encoding_that_is_not_read_are_listed(tmp_path, folder, encoding):
    name = "words/ES2002a.A.words.xml"
    edit(folder / "ami_public_manual_1.6.2" / name, (b"ISO-8859-1", encoding.encode()))
    found = excluded_of_those_there(prepare(tmp_path, folder) / "train")
    assert found.keys() == {"ES2002a.A", "ES2002a.Headset-0.wav"}
    assert found["ES2002a.A"].startswith(f"{name} is not readable: ")


@pytest.mark.parametrize("damage", ["bytes", "stream", "encrypted"])
def test_a_damaged_member_of_the_zip_is_listed(tmp_path, damage):
    folder = make_ami(tmp_path / "ami", defects=False, as_zip=True)
    path, name = folder / "ami_public_manual_1.6.2.zip", "words/ES2002a.A.words.xml"
    with zipfile.ZipFile(path) as old:
        members = {info: old.read(info) for info in old.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for info, data in members.items():
            new.writestr(info.filename, data)
    raw = bytearray(path.read_bytes())
    head = raw.index(name.encode())
    if damage == "encrypted":
        raw[raw.index(b"PK\x01\x02", raw.rindex(name.encode()) - 60) + 8] |= 1
        raw[head - 30 + 6] |= 1
    else:
        at = head + len(name) + (0 if damage == "stream" else 100)
        raw[at : at + 20] = bytes(0xFF - b for b in raw[at : at + 20])
    path.write_bytes(raw)
    found = excluded_of_those_there(prepare(tmp_path, folder) / "train")
    assert found["ES2002a.A"].startswith(f"{name} is not readable: ")


def test_long_segments_are_split_at_commas_and_neighbours_without_a_pause_joined(tmp_path, folder):
    speaker = Speaker("ES2002a", "A")
    at = 1.0
    for words in (["ab", ".", "cd"], [*["x"] * 15, ",", *["y"] * 15, ",", "z"]):
        start, first = at, len(speaker.words)
        for word in words:
            end = at if word in ",." else at + 0.1
            speaker.word(word, f'starttime="{at:.1f}" endtime="{end:.1f}"')
            at = round(end, 1)
        speaker.segment(f'transcriber_start="{start}" transcriber_end="{at}"', first)
    speaker.write(folder / "ami_public_manual_1.6.2")
    texts = read_table(prepare(tmp_path, folder) / "train/text")
    said = [text for name, text in texts.items() if name.startswith("ES2002a-0-")]
    assert said == ["AB CD", " ".join(["X"] * 15 + ["Y"] * 15), "Z"]


def test_utterances_of_the_distant_microphone_are_numbered_by_speaker(tmp_path, monkeypatch):
    from lhotse.recipes import ami

    parse = ami.parse_ami_annotations
    folder = make_ami(tmp_path / "ami", defects=False, mic="sdm")
    monkeypatch.setattr(
        ami, "parse_ami_annotations",
        lambda *a, **k: dict(sorted(parse(*a, **k).items(), reverse=True)),
    )  # fmt: skip
    speakers = read_table(prepare(tmp_path, folder, "--mic", "sdm") / "dev/utt2spk")
    numbered = [speakers[f"ES2011a-{number}"] for number in range(20)]
    assert numbered == [name for name in ("FEE201", "FEE203", "MEE200", "MEE202") for _ in "01234"]
