"""COIN++: meta-learning, the latents of an image, files that name the base, SINR on both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import sinr3d
from sinr3d.baselines import coinpp
from sinr3d.baselines._modulation import fit_latents, initial_tensors, patches_of, samples_of
from sinr3d.baselines.coinpp import CoinppOptions, TrainOptions
from sinr3d.codec.pipeline import unpack_file
from sinr3d.codec.prior import Prior, PriorRef, load_prior, pack_prior, save_prior
from sinr3d.codec.tensors import DenseCode, SinrCode
from sinr3d.config import EncodeOptions
from sinr3d.encoder import encode_signal
from sinr3d.errors import CorruptFileError, MissingPriorError, TruncatedFileError, UsageError
from sinr3d.inr.modulated import evaluate_modulated
from sinr3d.modalities.image import ImageSignal

ORIGIN = "sinr3d bench c5 --scale smoke"
SMALL = TrainOptions(
    width=12, hidden_layers=1, latent_size=6, patch=8, steps=200, tasks=4, points=32, outer_rate=3e-3
)


def picture(seed: int, height: int = 21, width: int = 30) -> np.ndarray:
    """A few smooth waves of random colours."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 20
    waves = [
        rng.uniform(0, 40, 3) * np.sin(rng.uniform(-9, 9) * (x + k * y) + k)[..., None] for k in range(3)
    ]
    return np.clip(sum(waves) + rng.uniform(80, 170, 3), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def trained() -> tuple[Prior, list[float]]:
    scores: list[float] = []
    prior = coinpp.train([picture(k) for k in range(3)], SMALL, ORIGIN, lambda *step: scores.append(step[2]))
    return prior, scores


@pytest.fixture
def stored(trained: tuple[Prior, list[float]], tmp_path: Path) -> tuple[Path, PriorRef, Prior]:
    path = save_prior(trained[0], tmp_path / "priors")
    return path, *load_prior(path)


Stored = tuple[Path, PriorRef, Prior]


def test_training_brings_the_error_down(trained: tuple[Prior, list[float]]):
    _, scores = trained
    assert len(scores) == SMALL.steps
    assert np.mean(scores[-40:]) > np.mean(scores[:40]) + 1


def test_the_same_seed_trains_the_same_prior():
    short = replace(SMALL, steps=3)
    first, again, other = (
        pack_prior(coinpp.train([picture(0)], replace(short, seed=seed), ORIGIN)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_the_inner_loop_written_out():
    base = SMALL.base(1)
    tensors = initial_tensors(base, 4, seed=0)
    generator = torch.Generator().manual_seed(1)
    coords = 2 * torch.rand(3, 10, 2, generator=generator) - 1
    targets = 2 * torch.rand(3, 10, 1, generator=generator) - 1
    weights = torch.ones(3, 10)
    weights[2, 4:] = 0
    found = fit_latents(base, tensors, coords, targets, 3, 0.02, weights=weights)
    for patch in range(3):
        present = weights[patch] > 0
        latent = torch.zeros(1, 4)
        for _ in range(3):
            latent.requires_grad_()
            outputs = evaluate_modulated(base, tensors, latent, coords[patch : patch + 1, present])
            ((outputs - targets[patch, present]) / 2).square().mean().backward()
            assert latent.grad is not None
            latent = (latent - 0.02 * latent.grad).detach()
        torch.testing.assert_close(found[patch], latent[0], rtol=1e-4, atol=1e-6)


def test_the_outer_gradient_goes_through_the_inner_steps():
    base = SMALL.base(1)
    tensors = {name: value.double() for name, value in initial_tensors(base, 4, seed=0).items()}
    generator = torch.Generator().manual_seed(1)
    coords = 2 * torch.rand(2, 5, 2, generator=generator).double() - 1
    targets = 2 * torch.rand(2, 5, 1, generator=generator).double() - 1
    name = "hidden.0.weight"

    def latents(value: torch.Tensor) -> torch.Tensor:
        moved = tensors | {name: value}
        return fit_latents(base, moved, coords, targets, 3, 0.02, differentiable=True)

    assert torch.autograd.gradcheck(latents, tensors[name].clone().requires_grad_())


@pytest.mark.parametrize("patch", [0, 8])
def test_patches_are_the_image(patch: int):
    signal = ImageSignal(picture(0))
    coords, samples, weights = patches_of(signal, patch)
    assert weights.sum() == 21 * 30
    if patch == 0:
        assert coords.shape == (1, 630, 2)
        torch.testing.assert_close(samples.reshape(21, 30, 3), samples_of(signal))
        return
    assert coords.shape == (12, 64, 2)
    corner = samples[5].reshape(8, 8, 3)  # row 1, column 1
    torch.testing.assert_close(corner, samples_of(signal)[8:16, 8:16])
    torch.testing.assert_close(coords[7, 9], torch.tensor([3 / 8 - 1, 3 / 8 - 1]))
    assert weights[11].reshape(8, 8)[:5, :6].all()
    assert weights[11].sum() == 30


@pytest.mark.parametrize("patch", [0, 8])
def test_a_file_decodes_alone_with_its_prior(stored: Stored, patch: int):
    path, ref, prior = stored
    prior.tensors[coinpp.PATCH] = torch.tensor(float(patch))
    path = save_prior(prior, path.parent)
    ref, prior = load_prior(path)
    signal = ImageSignal(picture(7))
    data = coinpp.code(prior, ref, signal)
    field = sinr3d.decode(data, priors=path.parent)
    latents = field.weights["latents"]
    assert latents.shape == ((12, 6) if patch else (1, 6))
    assert field.record is not None
    assert field.record.profile == "coinpp"
    assert signal.score(field.evaluate) == pytest.approx(field.record.score, abs=1e-4)
    assert coinpp.score_of(prior, signal, latents) == pytest.approx(field.record.score, abs=1e-4)
    assert field.pixels().shape == signal.pixels.shape


def test_more_inner_steps_and_more_bits_are_better(stored: Stored):
    _, ref, prior = stored
    signal = ImageSignal(picture(7))
    one, ten = (coinpp.score_of(prior, signal, coinpp.fit(prior, signal, steps)) for steps in (1, 10))
    assert ten > one
    few, many = (coinpp.code(prior, ref, signal, CoinppOptions(bits=bits)) for bits in (5, 16))
    assert len(few) < len(many)


def test_known_latents_are_not_fitted_again(stored: Stored):
    _, ref, prior = stored
    signal = ImageSignal(picture(7))
    latents = coinpp.fit(prior, signal)
    data = coinpp.code(prior, ref, signal)
    assert coinpp.code(prior, ref, signal, latents=latents) == data
    assert coinpp.code(prior, ref, signal, latents=0 * latents) != data


@pytest.mark.parametrize("bits", [2, 5, 8, 12])
def test_latents_are_rounded_within_their_range(stored: Stored, bits: int):
    _, _, prior = stored
    signal = ImageSignal(picture(7))
    latents = coinpp.fit(prior, signal)
    latents[0, 0] = 100.0
    network, _ = coinpp.quantized(prior, signal, latents, CoinppOptions(bits=bits))
    code = network.codes["latents"]
    assert isinstance(code, DenseCode)
    limit = 2 ** (bits - 1) - 1
    assert 0.99 * limit < code.symbols.max() == abs(code.symbols).max() <= limit
    deviation = float(latents.square().mean().sqrt())
    assert limit * code.step == pytest.approx(3 * deviation if bits <= 8 else 100, rel=0.01)
    inside = latents.abs() < limit * code.step
    errors = (torch.from_numpy(code.symbols * code.step) - latents)[inside]
    assert errors.abs().max() <= code.step / 2 * 1.001


def test_the_bits_of_a_file_are_near_the_entropy_of_its_symbols(stored: Stored):
    _, ref, prior = stored
    signal = ImageSignal(picture(7, 160, 240))
    data = coinpp.code(prior, ref, signal)
    symbols = unpack_file(data)[0].codes["latents"].symbols
    _, counts = np.unique(symbols, return_counts=True)
    bits = float(-(counts * np.log2(counts / symbols.size)).sum())
    assert bits / 8 < len(data) < bits / 8 * 1.05 + 120


def test_sinr_on_the_latents(stored: Stored):
    path, ref, prior = stored
    signal = ImageSignal(picture(7, 64, 64))
    data = coinpp.code(prior, ref, signal, CoinppOptions(sinr=True, num_atoms=512))
    code = unpack_file(data)[0].codes["latents"]
    assert isinstance(code, SinrCode)
    assert code.support.shape == (64, 2)  # 2 s < d = 6
    field = sinr3d.decode(data, priors=path.parent)
    assert field.record is not None
    assert signal.score(field.evaluate) == pytest.approx(field.record.score, abs=1e-4)


def test_sinr_on_the_base_is_smaller_and_near_it(stored: Stored):
    path, _, prior = stored
    coded, data = coinpp.sinr_base(prior, num_atoms=4096)
    assert len(data) < path.stat().st_size
    assert pack_prior(coinpp.decode_base(data, ORIGIN)) == pack_prior(coded)
    assert coded.origin == ORIGIN
    assert set(coded.tensors) == set(prior.tensors)
    for name in ("modulation.weight", "first.weight"):
        torch.testing.assert_close(coded.tensors[name], prior.tensors[name], rtol=0, atol=1e-3)
    assert not torch.equal(coded.tensors["hidden.0.weight"], prior.tensors["hidden.0.weight"])
    assert float(coded.tensors[coinpp.RATE]) == float(prior.tensors[coinpp.RATE])


def test_a_base_cut_short_is_refused(stored: Stored):
    _, data = coinpp.sinr_base(stored[2], num_atoms=256)
    for end in (0, 10, 17, 100, len(data) - 1):
        with pytest.raises((CorruptFileError, TruncatedFileError)):
            coinpp.decode_base(data[:end], ORIGIN)


def test_without_the_prior_the_file_says_what_is_missing(
    stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _, ref, prior = stored
    data = coinpp.code(prior, ref, ImageSignal(picture(7)))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SINR3D_PRIORS", raising=False)
    with pytest.raises(MissingPriorError, match=rf"{ref.id}\.prior.*{ORIGIN}"):
        sinr3d.decode(data, priors=tmp_path)


def test_the_profile(stored: Stored):
    path, ref, _ = stored
    options = EncodeOptions(profile="coinpp", prior=str(path), bits=6, device="cpu")
    encoded = encode_signal(ImageSignal(picture(7)), options)
    field = sinr3d.decode(encoded.data, priors=path.parent)
    assert field.record is not None
    assert field.record.profile == "coinpp"
    assert field.contents.prior == ref
    assert encoded.float_score == pytest.approx(encoded.score, abs=0.5)
    assert encoded.score == pytest.approx(field.record.score, abs=1e-4)


def test_what_does_not_go_together_is_refused(stored: Stored):
    _, _, prior = stored
    with pytest.raises(UsageError, match="3 channels, this one has 1"):
        coinpp.fit(prior, ImageSignal(picture(0)[..., 0]))
    plain = {name: value for name, value in prior.tensors.items() if not name.startswith("modulation")}
    with pytest.raises(UsageError, match=r"no modulation\.weight"):
        coinpp.fit(replace(prior, tensors=plain), ImageSignal(picture(0)))
    with pytest.raises(UsageError, match=r"patches of 8 do not fit"):
        coinpp.train([picture(0, 7, 30)], SMALL, ORIGIN)
    with pytest.raises(UsageError, match=r"one number of channels, got \[1, 3\]"):
        coinpp.train([picture(0), picture(0)[..., 0]], SMALL, ORIGIN)
    with pytest.raises(UsageError, match=r"one number of channels, got \[\]"):
        coinpp.train([], SMALL, ORIGIN)


@pytest.mark.parametrize("name", ["width", "latent_size", "steps", "tasks", "points", "inner_steps"])
def test_sizes_of_nothing_are_refused(name: str):
    with pytest.raises(UsageError, match=name):
        replace(SMALL, **{name: 0})


@pytest.mark.parametrize("settings", [{"bits": 1}, {"bits": 17}, {"inner_steps": 0}])
def test_codings_that_make_no_sense_are_refused(settings: dict[str, int]):
    with pytest.raises(UsageError, match=next(iter(settings))):
        replace(CoinppOptions(), **settings)
