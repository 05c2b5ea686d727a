"""Dev and test held out of one list of utterances."""

from local.corpora.held_out import hold_out
from local.corpora.utterance import SETS


def test_held_out_sets_are_about_a_twentieth_and_do_not_depend_on_order():
    speakers = {f"u{i}": f"s{i % 97}" for i in range(2000)}
    sets = hold_out(speakers).sets
    assert sets == hold_out(dict(reversed(speakers.items()))).sets
    held = [sum(name == wanted for name in sets.values()) for wanted in ("dev", "test")]
    assert all(100 <= count <= 121 for count in held)
    for speaker in set(speakers.values()):
        assert len({sets[u] for u, s in speakers.items() if s == speaker}) == 1


def test_a_speaker_who_has_most_of_the_audio_is_never_held_out():
    speakers = {f"u{i}": "big" for i in range(1000)} | {f"v{i}": f"s{i}" for i in range(12)}
    sets = hold_out(speakers).sets
    assert {sets[u] for u, s in speakers.items() if s == "big"} == {"train"}
    assert [list(sets.values()).count(name) for name in SETS] == [1010, 1, 1]
    few = {f"u{i}": f"s{i // 30}" for i in range(300)}
    found = hold_out(few).sets
    assert [list(found.values()).count(name) for name in SETS] == [240, 30, 30]


def test_a_speaker_who_makes_a_set_twice_too_large_is_passed_over():
    for seed in range(20):
        large = {f"u{i}": f"{seed} large {i // 120}" for i in range(720)}
        small = {f"w{i}": f"{seed} small {i // 5}" for i in range(300)}
        sets = hold_out(large | small).sets
        assert {sets[u] for u in large} == {"train"}


def test_speakers_who_share_a_file_are_in_one_set_and_nobody_is_no_speaker():
    speakers = {f"u{i}": f"s{i}" for i in range(20)} | {f"v{i}": f"s{i}" for i in range(20)}
    files = {name: f"{int(name[1:]) // 2}.wav" for name in speakers}
    sets, how = hold_out(speakers, files)
    for first in range(0, 20, 2):
        names = {f"{letter}{i}" for letter in "uv" for i in (first, first + 1)}
        assert len({sets[name] for name in names}) == 1
    assert "dev 4 of 40 utterances (2 speakers)" in how
    alone = {f"n{i}": None for i in range(200)}
    sets, how = hold_out(alone | speakers)
    held = {speakers.get(name) for name, found in sets.items() if found == "dev"} - {None}
    assert f"({len(held)} speakers)" in how
    assert how.endswith("; 200 utterances without a speaker, whose voices may be in several sets")
