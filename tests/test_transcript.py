"""Transcripts of closed segments as text and CTM."""

import math

from espnet_local.decode.stream import Result
from espnet_local.decode.transcript import Transcript


def segment(number, *tokens):
    pieces, times, logprobs = zip(*tokens)
    return Result(
        text="",
        tokens=pieces,
        timestamps=times,
        token_logprobs=logprobs,
        stable_tokens=len(tokens),
        stable_text="",
        is_final=True,
        segment=number,
        start=0.0,
    )


def test_a_word_lasts_from_its_first_token_to_the_end_of_its_last():
    one = segment(0, ("▁", 0.1, -9.0), ("o", 0.2, math.log(0.5)), ("n", 0.4, math.log(0.5)))
    two = segment(1, ("▁a", 1.0, math.log(0.25)))
    transcript = Transcript("my file.wav", 2.0, (one, two))
    assert transcript.text == "on a"
    assert transcript.ctm() == [
        "my_file.wav 1 0.20 0.22 on 0.500",
        "my_file.wav 1 1.00 0.02 a 0.250",
    ]


def test_a_word_cut_by_an_endpoint_is_one_word_in_text_and_ctm():
    halves = segment(0, ("▁e", 0.1, 0.0)), segment(1, ("i", 2.0, 0.0), ("ne", 2.1, 0.0))
    transcript = Transcript("a", 3.0, halves)
    assert transcript.text == "eine"
    assert transcript.ctm() == ["a 1 0.10 2.02 eine 1.000"]


def test_a_stream_without_a_word_has_an_empty_text():
    assert Transcript("a", 3.0, ()).text == ""
    assert Transcript("a", 3.0, ()).ctm() == []
