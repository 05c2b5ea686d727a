"""The predictor: one maths path, no look at later labels, and service to ESPnet's searches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_local.decode.greedy import greedy_search
from espnet_local.transducer.espnet_interface import EspnetSearchMixin
from espnet_local.transducer.joiner import Joiner, JoinerSpec
from espnet_local.transducer.predictor import PredictorSpec, StatelessPredictor, push

VOCAB = 6


def make_predictor(context=2, kind=StatelessPredictor, seed=0):
    torch.manual_seed(seed)
    return kind(VOCAB, PredictorSpec(dim=5, context=context)).eval()


@given(
    labels=st.lists(st.integers(1, VOCAB - 1), max_size=7),
    context=st.integers(1, 4),
)
@settings(deadline=None)
def test_steps_give_what_forward_gives(labels, context):
    predictor = make_predictor(context)
    offline = predictor(torch.tensor([[0, *labels]]))[0]
    history = predictor.initial(1, "cpu")
    stepped = [predictor.step(history)]
    for label in labels:
        history = push(history, torch.tensor([label]))
        stepped.append(predictor.step(history))
    torch.testing.assert_close(torch.cat(stepped), offline)


@pytest.mark.parametrize("context", [1, 2, 3])
def test_a_position_sees_just_its_last_context_labels(context):
    predictor = make_predictor(context)
    labels = torch.tensor([[0, 1, 2, 3, 4, 5]])
    before = predictor(labels)[0]
    for changed in range(1, 6):
        others = labels.clone()
        others[0, changed] = labels[0, changed] % (VOCAB - 1) + 1
        differs = (predictor(others)[0] != before).any(dim=1)
        assert differs.nonzero()[:, 0].tolist() == list(range(changed, min(changed + context, 6)))


def test_blank_is_embedded_as_zero_and_stays_so():
    predictor = make_predictor().train()
    optimizer = torch.optim.SGD(predictor.parameters(), lr=1.0)
    predictor(torch.tensor([[0, 1, 0, 2]])).sum().backward()
    optimizer.step()
    assert predictor.embed.weight[0].abs().max() == 0
    assert predictor(torch.tensor([[0]])).abs().max() == 0


@pytest.mark.parametrize(
    ("field", "value", "bound"),
    [("dim", 0, ">= 1"), ("context", 0, ">= 1"), ("dropout", 1.0, r"\[0, 1\)")],
)
def test_a_bad_size_is_an_error_naming_field_bound_and_value(field, value, bound):
    with pytest.raises(ValueError, match=rf"{field} must be .*{bound}.*, got {value}"):
        PredictorSpec(**{"dim": 4, field: value})


class RereadingPredictor(EspnetSearchMixin):
    """Scores by reading each hypothesis from its start: no state, no cache."""

    def batch_score(self, hyps, dec_states, cache, use_lm):
        _, states, labels = super().batch_score(hyps, dec_states, {}, use_lm)
        predictions = [self.forward(torch.tensor([hyp.yseq]))[0, -1] for hyp in hyps]
        return torch.stack(predictions), states, labels


def make_espnet_search(kind, search_type, beam):
    from espnet2.asr.transducer.beam_search_transducer import BeamSearchTransducer

    predictor = make_predictor(kind=kind, seed=3)
    joiner = Joiner(VOCAB, 4, 5, JoinerSpec(dim=8)).eval()
    with torch.no_grad():
        joiner.lin_out.weight.mul_(3)
        joiner.lin_out.bias[0] += 1.0
    search = BeamSearchTransducer(
        predictor, joiner, beam, search_type=search_type, expansion_beta=1, u_max=8, nbest=4
    )
    return predictor, joiner, search


@torch.no_grad()
@pytest.mark.parametrize("search_type", ["default", "tsd", "alsd", "nsc", "maes"])
def test_espnet_beam_searches_find_the_same_through_states_and_cache(search_type):
    _, _, search = make_espnet_search(EspnetSearchMixin, search_type, beam=4)
    _, _, rereading = make_espnet_search(RereadingPredictor, search_type, beam=4)
    lengths = []
    for seed in range(4):
        frames = 3 * torch.randn(10, 4, generator=torch.Generator().manual_seed(seed))
        ours, expected = search(frames), rereading(frames)
        assert [hyp.yseq for hyp in ours] == [hyp.yseq for hyp in expected]
        scores = [float(hyp.score) for hyp in ours]
        assert scores == pytest.approx([float(hyp.score) for hyp in expected], abs=1e-4)
        lengths += [len(hyp.yseq) for hyp in ours]
    assert max(lengths) >= 3  # blank and a full context


@torch.no_grad()
def test_espnet_greedy_search_finds_what_ours_finds():
    predictor, joiner, search = make_espnet_search(EspnetSearchMixin, "default", beam=1)
    for seed in range(5):
        frames = torch.randn(30, 4, generator=torch.Generator().manual_seed(seed))
        ours = greedy_search(predictor, joiner, frames[None], torch.tensor([30]))[0]
        theirs = search(frames)[0]
        assert len(ours.tokens) > 3
        assert list(ours.tokens) == theirs.yseq[1:]
        assert sum(ours.token_logprobs) == pytest.approx(theirs.score, abs=1e-4)


def test_joiner_loads_espnet_weights_and_gives_espnet_logits():
    from espnet2.asr_transducer.joint_network import JointNetwork

    theirs = JointNetwork(VOCAB, 4, 5, joint_space_size=7)
    ours = Joiner(VOCAB, 4, 5, JoinerSpec(dim=7))
    ours.load_state_dict(theirs.state_dict())
    frames, predictions = torch.randn(2, 3, 1, 4), torch.randn(2, 1, 6, 5)
    torch.testing.assert_close(ours(frames, predictions), theirs(frames, predictions))
    joined = ours.project_encoder(frames), ours.project_predictor(predictions)
    torch.testing.assert_close(ours(*joined, no_projection=True), theirs(frames, predictions))
