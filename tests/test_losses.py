"""Transducer losses against every path of small lattices, and their guards."""

import itertools
import re
import sys
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espnet_local.transducer import losses
from espnet_local.transducer.losses import make_loss


def brute_force(logits, target, blank):
    """-log of the sum over every path of one lattice (T, U + 1, V), in float64."""
    logprob = logits.double().log_softmax(dim=-1)
    frames, labels = len(logprob), len(target)
    paths = []
    # A path has `labels` steps up and `frames` steps right, the last of them to the right.
    for ups in itertools.combinations(range(frames + labels - 1), labels):
        t = u = 0
        total = logprob.new_zeros(())
        for step in range(frames + labels):
            if step in ups:
                total = total + logprob[t, u, target[u]]
                u += 1
            else:
                total = total + logprob[t, u, blank]
                t += 1
        paths.append(total)
    return -torch.stack(paths).logsumexp(dim=0)


@st.composite
def lattices(draw):
    """Logits (B, T, U + 1, V), targets (B, U), lengths and blank; padding holds large numbers."""
    batch, vocab = draw(st.integers(1, 3)), draw(st.integers(2, 4))
    blank = draw(st.integers(0, vocab - 1))
    frames = torch.tensor(draw(st.lists(st.integers(1, 4), min_size=batch, max_size=batch)))
    labels = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=batch, max_size=batch)))
    extra_t, extra_u = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    t_max, u_max = int(frames.max()) + extra_t, int(labels.max()) + extra_u
    logits = 2 * torch.randn(batch, t_max, u_max + 1, vocab, generator=generator)
    targets = torch.randint(0, vocab - 1, (batch, u_max), generator=generator)
    targets = targets + (targets >= blank).long()
    for b in range(batch):
        logits[b, frames[b] :] = 99.0
        logits[b, :, labels[b] + 1 :] = -99.0
        targets[b, labels[b] :] = -1
    return logits, targets, frames, labels, blank


def expected_losses(logits, targets, frames, labels, blank):
    return torch.stack(
        [
            brute_force(logits[b, : frames[b], : labels[b] + 1], targets[b, : labels[b]], blank)
            for b in range(len(logits))
        ]
    )


class FakeWarpRnnt(types.ModuleType):
    """Checks its arguments as the package does and sums over every path."""

    def rnnt_loss(self, log_probs, labels, frames_lengths, labels_lengths, average_frames=False,
                  reduction="none", blank=0, gather=False):  # fmt: skip
        assert log_probs.dtype == torch.float32
        assert log_probs.is_contiguous()
        assert labels.is_contiguous()
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:3]))
        for lengths in (labels, frames_lengths, labels_lengths):
            assert lengths.dtype == torch.int32
        assert labels.shape == (log_probs.shape[0], log_probs.shape[2] - 1)
        if gather:
            assert (labels >= 0).all()  # an index
        assert (average_frames, reduction) == (False, "none")
        arguments = (log_probs, labels.long(), frames_lengths, labels_lengths, blank)
        return expected_losses(*arguments).float()


def warp_rnnt_through_the_fake(*arguments):
    return losses._warp_rnnt_loss(FakeWarpRnnt("warp_rnnt"), *arguments)


BACKENDS = {
    "torchaudio": make_loss("torchaudio"),
    "numba": make_loss("numba"),
    "warp_rnnt": warp_rnnt_through_the_fake,
}


@pytest.mark.parametrize("name", BACKENDS)
@given(lattice=lattices())
@settings(deadline=None, max_examples=60)
def test_loss_equals_the_sum_over_every_path_whatever_the_padding(name, lattice):
    found = BACKENDS[name](*lattice)
    assert found.dtype == torch.float32
    torch.testing.assert_close(
        found.double(), expected_losses(*lattice), rtol=1e-4, atol=1e-4, check_dtype=False
    )


@pytest.mark.parametrize("name", BACKENDS)
@given(lattice=lattices())
@settings(deadline=None, max_examples=30)
def test_gradient_equals_that_of_the_sum_over_every_path(name, lattice):
    logits, *rest = lattice
    weights = torch.arange(1.0, len(logits) + 1)  # each utterance's gradient at its own scale
    ours, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    (BACKENDS[name](ours, *rest) * weights).sum().backward()
    (expected_losses(exact, *rest) * weights).sum().backward()
    torch.testing.assert_close(ours.grad, exact.grad.float(), rtol=1e-3, atol=1e-4)


def test_brute_force_passes_gradcheck():
    logits = torch.randn(3, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: brute_force(x, [1, 2], 0), [logits])


def test_half_precision_logits_give_a_float32_loss():
    logits, targets = torch.randn(1, 4, 3, 5), torch.tensor([[1, 2]])
    lengths = torch.tensor([4]), torch.tensor([2])
    exact = make_loss("torchaudio")(logits.bfloat16().float(), targets, *lengths, 0)
    assert torch.equal(make_loss("torchaudio")(logits.bfloat16(), targets, *lengths, 0), exact)


def call(logits=None, targets=((1, 2),), frames=(4,), labels=(2,), blank=0):
    logits = torch.zeros(1, 4, 3, 5) if logits is None else logits
    return make_loss("torchaudio")(
        logits, torch.tensor(targets), torch.tensor(frames), torch.tensor(labels), blank
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": (5,)}, r"logit_lengths must be in \[1, 4\], got \[5\]"),
        ({"frames": (0,)}, r"logit_lengths must be in \[1, 4\], got \[0\]"),
        ({"labels": (3,)}, r"target_lengths must be in \[0, 2\], got \[3\]"),
        ({"targets": ((1,),)}, r"targets must have the shape \(B, U\) = \(1, 2\).*got \(1, 1\)"),
        ({"targets": ((1, 5),)}, r"targets must be in \[0, 5\) and not blank \(0\), got 5"),
        ({"targets": ((0, 1),)}, r"not blank \(0\), got 0"),
        ({"blank": 5}, r"blank must be in \[0, 5\), got 5"),
        ({"logits": torch.zeros(0, 4, 3, 5)}, r"none of them 0, got \(0, 4, 3, 5\)"),
        ({"frames": (4, 4)}, r"logit_lengths must have the shape \(1,\), got \(2,\)"),
    ],
)
def test_arguments_out_of_bounds_are_errors_naming_bound_and_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        call(**arguments)


def test_a_lattice_above_31_bits_is_an_error_before_anything_is_computed():
    logits = torch.zeros(1, 1, 1, 1).expand(8, 1000, 300, 1000)
    targets = torch.ones(8, 299, dtype=torch.long)
    with pytest.raises(ValueError, match=r"8 x 1000 x 300 x 1000 = 2400000000 .* <= 2147483647"):
        call(logits, targets.tolist(), [1000] * 8, [299] * 8)


def test_an_unknown_loss_is_an_error_naming_the_choices():
    with pytest.raises(
        ValueError, match="must be one of auto, torchaudio, numba, warp_rnnt, got 'warp'"
    ):
        make_loss("warp")


def test_warp_rnnt_without_its_package_is_an_error_with_the_install_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "warp_rnnt", None)
    with pytest.raises(ValueError, match="pip install .*warp_rnnt"):
        make_loss("warp_rnnt")


def test_warp_rnnt_without_cuda_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "warp_rnnt", FakeWarpRnnt("warp_rnnt"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="needs a CUDA device"):
        make_loss("warp_rnnt")


def test_warp_rnnt_refuses_logits_on_the_cpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "warp_rnnt", FakeWarpRnnt("warp_rnnt"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    loss = make_loss("warp_rnnt")
    with pytest.raises(ValueError, match="needs logits on CUDA, got them on cpu"):
        loss(torch.zeros(1, 1, 1, 2), torch.zeros(1, 0), torch.tensor([1]), torch.tensor([0]), 0)


@pytest.mark.parametrize(
    ("cuda", "installed", "chosen"),
    [
        (True, True, "warp_rnnt on CUDA"),
        (True, False, "auto: torchaudio on CUDA .*not installed"),
        (False, True, "auto: numba .*no CUDA device"),
    ],
)
def test_auto_says_what_it_chose_and_why(monkeypatch, caplog, cuda, installed, chosen):
    module = FakeWarpRnnt("warp_rnnt") if installed else None
    monkeypatch.setitem(sys.modules, "warp_rnnt", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    with caplog.at_level("INFO"):
        loss = make_loss("auto")
    assert len(caplog.messages) == 1
    assert re.search(chosen, caplog.messages[0])
    arguments = torch.randn(1, 4, 3, 5), torch.tensor([[1, 2]]), torch.tensor([4])
    on_cpu = loss(*arguments, torch.tensor([2]), 0)
    assert torch.equal(on_cpu, make_loss("numba")(*arguments, torch.tensor([2]), 0))
