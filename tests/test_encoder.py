"""The encoder's promises: no peeking, batches and padding change nothing, torchaudio's function."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_encoder import make_encoder, noise

from espnet_local.config import HOP_SAMPLES, RECEPTIVE_SAMPLES, ContextSpec
from espnet_local.contexts import ContextDraws
from espnet_local.encoder.feature_mask import FeatureMask, random_spans
from espnet_local.encoder.frontend import extract_features, frame_count
from espnet_local.encoder.position import positional_embedding
from espnet_local.encoder.spec import Architecture, EncoderSpec, FeatureMaskSpec
from espnet_local.encoder.streaming import StreamingEncoder
from espnet_local.encoder.waveform import normalise_waveform

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def encoder() -> StreamingEncoder:
    return make_encoder()


streaming_contexts = st.builds(
    ContextSpec,
    chunk_frames=st.integers(1, 40),
    left_chunks=st.one_of(st.none(), st.integers(0, 3)),
    sink_frames=st.integers(0, 16),
)


@settings(max_examples=25, deadline=None)
@given(streaming_contexts, st.data())
def test_no_frame_depends_on_samples_past_its_chunk_and_80_more(encoder, context, data):
    samples = noise(1, 24_000, seed=1).requires_grad_()
    frames, _ = encoder.forward_context(samples, torch.tensor([24_000]), context)
    assert context.chunk_frames is not None
    chunks = -(-frames.shape[1] // context.chunk_frames)
    chunk = data.draw(st.integers(0, chunks - 1))
    own = frames[0, chunk * context.chunk_frames : (chunk + 1) * context.chunk_frames]
    (gradient,) = torch.autograd.grad((own * noise(*own.shape, seed=2)).sum(), samples)
    horizon = (chunk + 1) * context.chunk_frames * HOP_SAMPLES + RECEPTIVE_SAMPLES - HOP_SAMPLES
    assert (gradient[0, horizon:] == 0).all()
    assert gradient[0, :horizon].abs().max() > 0


def test_full_context_does_see_the_future(encoder):
    # The counterpart: were gradients zero everywhere, the test above could not fail.
    samples = noise(1, 24_000).requires_grad_()
    frames, _ = encoder.forward_context(samples, torch.tensor([24_000]), ContextSpec())
    (gradient,) = torch.autograd.grad((frames[0, :10] * noise(10, 144)).sum(), samples)
    assert gradient[0, 20_000:].abs().max() > 0


@settings(max_examples=25, deadline=None)
@given(
    st.one_of(st.just(ContextSpec()), streaming_contexts),
    st.lists(st.integers(0, 20_000), min_size=1, max_size=4),
    st.integers(0, 3_000),
)
def test_batch_and_padding_change_nothing(encoder, context, lengths, padding):
    longest = max(lengths) + padding
    samples = noise(len(lengths), longest, seed=3)  # padding is noise too, not only zeros
    with torch.no_grad():
        frames, counts = encoder.forward_context(samples, torch.tensor(lengths), context)
        for row, length in enumerate(lengths):
            alone, (count,) = encoder.forward_context(
                samples[row : row + 1, :length], torch.tensor([length]), context
            )
            assert count == counts[row]
            torch.testing.assert_close(
                frames[row, :count], alone[0, :count], atol=TOLERANCE, rtol=0
            )
            assert (frames[row, count:] == 0).all()


def test_full_context_is_torchaudios_model(encoder):
    samples = normalise_waveform(noise(2, 16_000)).samples
    features, _ = encoder.feature_extractor(samples, None)
    expected = encoder.encoder(features, None)
    frames, _ = encoder.forward_context(noise(2, 16_000), torch.full((2,), 16_000), ContextSpec())
    torch.testing.assert_close(frames, expected, atol=TOLERANCE, rtol=0)


def test_front_end_is_torchaudios(encoder):
    samples = noise(2, 5_000)
    expected, _ = encoder.feature_extractor(samples, None)
    torch.testing.assert_close(
        extract_features(encoder.feature_extractor, samples), expected, atol=1e-5, rtol=0
    )


@given(st.integers(0, 100_000))
def test_frame_count_is_that_of_the_convolutions(samples):
    length = samples
    for _, kernel, stride in EncoderSpec(size="tiny").architecture.conv_layers:
        length = max((length - kernel) // stride + 1, 0)
    assert frame_count(torch.tensor([samples])).item() == length


@pytest.mark.parametrize("chunk_frames", [1, 7, 16, 100])
def test_positional_convolution_is_the_symmetric_one_with_the_future_of_the_chunk_cut_off(
    encoder, chunk_frames
):
    module = encoder.encoder.transformer.pos_conv_embed
    x = noise(1, 50, 144)
    found = positional_embedding(module, x, chunk_frames)
    for frame in range(50):
        edge = (frame // chunk_frames + 1) * chunk_frames
        cut = x.clone()
        cut[:, edge:] = 0
        torch.testing.assert_close(found[:, frame], module(cut)[:, frame], atol=1e-5, rtol=1e-4)


def test_last_chunk_of_the_whole_utterance_is_the_symmetric_convolution(encoder):
    module = encoder.encoder.transformer.pos_conv_embed
    x = noise(2, 30, 144)
    torch.testing.assert_close(positional_embedding(module, x, 30), module(x), atol=1e-5, rtol=1e-4)


def test_waveform_is_normalised_by_the_past_alone():
    samples = noise(1, 32_000)
    changed = samples.clone()
    changed[:, 16_000:] *= 7.0
    before, after = normalise_waveform(samples).samples, normalise_waveform(changed).samples
    assert torch.equal(before[:, :16_000], after[:, :16_000])
    # The block at the change is still scaled by the quiet past: it comes out seven times louder.
    torch.testing.assert_close(
        after[:, 16_000:16_320], 7 * before[:, 16_000:16_320], atol=0.2, rtol=0.05
    )


def test_normalised_waveform_tends_to_zero_mean_and_unit_variance():
    samples = 0.5 * noise(1, 160_000) + 0.05
    end = normalise_waveform(samples).samples[:, -16_000:]
    assert abs(end.mean()) < 0.15
    assert abs(end.var() - 1) < 0.2


def test_digital_silence_stays_finite():
    assert normalise_waveform(torch.zeros(1, 64_000)).samples.abs().max() == 0


def test_normalisation_follows_a_change_of_level_within_seconds():
    loud, quiet = 2.0 * noise(1, 20 * 16_000), 0.4 * noise(1, 16 * 16_000, seed=1)
    normal = normalise_waveform(torch.cat([loud, quiet], dim=1)).samples
    assert normal[:, 20 * 16_000 :][:, :3_200].std() < 0.3
    assert abs(normal[:, -32_000:].std() - 1) < 0.2


def test_a_long_silence_raises_the_gain_by_no_more_than_the_prior_lets_it():
    silence = torch.zeros(1, 600 * 16_000)
    speech = 0.5 * noise(1, 32_000)  # of the prior's level
    onset = normalise_waveform(torch.cat([silence, speech], dim=1)).samples[0, -32_000:]
    assert 2.0 < onset[:320].std() < 3.0
    assert onset[-3_200:].std() < 1.5


def test_a_steady_offset_is_taken_away_and_does_not_count_as_loudness():
    normal = normalise_waveform(0.5 + 0.5 * noise(1, 20 * 16_000)).samples[:, -16_000:]
    assert abs(normal.mean()) < 0.05
    assert abs(normal.std() - 1) < 0.1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 900), st.lists(st.integers(1, 400), max_size=4))
def test_normalising_piece_by_piece_is_normalising_all_at_once(first, more):
    samples = noise(2, 320 * (first + sum(more)))
    pieces, statistics, at = [], None, 0
    for blocks in (first, *more):
        piece, statistics = normalise_waveform(samples[:, at : at + 320 * blocks], statistics)
        pieces.append(piece)
        at += 320 * blocks
    expected = normalise_waveform(samples)
    torch.testing.assert_close(torch.cat(pieces, dim=1), expected.samples, atol=1e-6, rtol=0)
    for found, total in zip(statistics, expected.statistics):
        torch.testing.assert_close(found, total, atol=1e-9, rtol=1e-12)


def test_hours_of_audio_lose_no_digits():
    hour = 3_600 * 16_000
    samples = 0.05 * torch.ones(1, hour)
    samples[:, ::2] *= -1
    found, after = (normalise_waveform(samples[:, n:]).samples[0, -320:] for n in (0, hour - 10**7))
    assert (found.abs() - 1).abs().max() < 1e-5
    torch.testing.assert_close(found, after, atol=1e-6, rtol=0)


def test_training_draws_a_context_for_each_batch_and_counts_them():
    draws = ContextDraws(chunk_frames=(4, 8, None))
    encoder = make_encoder(contexts=draws, seed=5).train()
    samples, lengths = noise(1, 8_000), torch.tensor([8_000])
    for batch in range(4):
        found, _, _ = encoder(samples, lengths)
        expected, _ = encoder.forward_context(samples, lengths, draws.draw(5, batch))
        assert torch.equal(found, expected)
    assert encoder.state_dict()["train_batches"] == 4


def test_evaluation_uses_the_first_context_and_counts_nothing():
    draws = ContextDraws(chunk_frames=(4, 8))
    encoder = make_encoder(contexts=draws)
    samples, lengths = noise(1, 8_000), torch.tensor([8_000])
    found, _, _ = encoder(samples, lengths)
    assert torch.equal(found, encoder.forward_context(samples, lengths, draws.first)[0])
    assert encoder.train_batches == 0


def test_frozen_front_end_gets_no_gradient():
    encoder = make_encoder(freeze_frontend=True).train()
    encoder(noise(1, 8_000), torch.tensor([8_000]))[0].square().sum().backward()
    assert all(p.grad is None for p in encoder.feature_extractor.parameters())
    assert encoder.encoder.transformer.layers[0].attention.q_proj.weight.grad is not None


def test_gradient_checkpointing_changes_no_gradient_and_keeps_fewer_activations():
    samples, lengths = noise(2, 16_000), torch.tensor([16_000, 12_000])
    contexts = ContextDraws(chunk_frames=(8,), left_chunks=(1,))
    found, kept = [], []

    def count(value: torch.Tensor) -> torch.Tensor:
        kept[-1] += value.numel()
        return value

    for checkpointing in (False, True):
        encoder = make_encoder(
            gradient_checkpointing=checkpointing, contexts=contexts, dropout=0.1, layer_drop=0.3
        ).train()
        torch.manual_seed(3)
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda value: value):
            encoder(samples, lengths)[0].square().sum().backward()
        found.append({n: p.grad for n, p in encoder.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert len(found[0]) > 60
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], atol=1e-5, rtol=1e-5)
    assert kept[1] < 0.8 * kept[0]


def test_transformer_thaws_after_so_many_batches():
    encoder = make_encoder(thaw_after_batches=2).train()
    samples, lengths = noise(1, 8_000), torch.tensor([8_000])
    held = [encoder(samples, lengths)[0].requires_grad for _ in range(4)]
    assert held == [False, False, True, True]


@given(st.floats(0.05, 0.6), st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_random_spans_cover_the_share_asked_for(probability, span):
    torch.manual_seed(0)
    lengths = torch.full((64,), 400)
    covered = random_spans(lengths, 450, probability, span)
    assert not covered[:, 400:].any()
    # Away from the start, where spans that begin before it are missing.
    assert abs(covered[:, 20:400].float().mean().item() - probability) < 0.05


def test_feature_mask_hides_frames_and_channels_in_training_only():
    mask = FeatureMask(FeatureMaskSpec(time_probability=0.5, channel_probability=0.3), 32)
    with torch.no_grad():
        mask.embedding.fill_(5.0)
    x, lengths = torch.ones(2, 100, 32), torch.tensor([100, 60])
    torch.manual_seed(0)
    hidden = mask.train()(x, lengths)
    assert (hidden == 5.0).any()
    assert (hidden == 0.0).any()
    assert (hidden == 1.0).any()
    assert not (hidden[1, 60:] == 5.0).any()
    assert torch.equal(mask.eval()(x, lengths), x)


def test_architecture_with_another_hop_is_refused():
    with pytest.raises(ValueError, match="hop 320 and receptive field 400 samples, got 160"):
        Architecture(
            conv_layers=((8, 10, 5), *[(8, 3, 2)] * 4, (8, 2, 2)),
            dim=8,
            layers=1,
            heads=2,
            feed_forward_dim=8,
            position_kernel=4,
            position_groups=2,
        )


def test_xlsr_300m_has_the_shape_of_xlsr_53():
    with torch.device("meta"):
        encoder = StreamingEncoder(EncoderSpec(size="xlsr_300m"))
    count = sum(p.numel() for p in encoder.parameters())
    assert 315_000_000 < count < 316_000_000
