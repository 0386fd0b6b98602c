"""INRIC as a profile: b-bit weights, AdaRound, retraining, differences from a prior."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

import sinr3d
from sinr3d import cli
from sinr3d.baselines import inric
from sinr3d.baselines._adaround import Grid, adaround, nearest
from sinr3d.baselines.inric import InricOptions
from sinr3d.codec.pipeline import decompress, unpack_file
from sinr3d.codec.prior import Prior, load_prior, save_prior
from sinr3d.codec.quantizer import step_for_bits
from sinr3d.codec.tensors import DenseCode
from sinr3d.config import EncodeOptions
from sinr3d.errors import MissingPriorError, UsageError
from sinr3d.fit.loop import FitOptions, FitResult, fit
from sinr3d.fit.optim import OptimizerOptions
from sinr3d.inr.mlp import Weights, evaluate
from sinr3d.inr.spec import InrSpec
from sinr3d.metrics import psnr
from sinr3d.modalities.image import ImageSignal

SPEC = InrSpec(2, 3, 16, 1, frequencies=3)
PLAIN = InricOptions(bits=5, rounding_steps=0, tuning_steps=0)


@pytest.fixture(scope="module")
def signal(picture: np.ndarray) -> ImageSignal:
    return ImageSignal(picture)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """What is learned here depends on the last bits of sums, and those on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def fitted(signal: ImageSignal) -> FitResult:
    adam = OptimizerOptions("adam", adam_lr=5e-3, l1=1e-5)
    return fit(SPEC, signal, FitOptions(steps=400, optimizer=adam))


@pytest.fixture(scope="module")
def prior(fitted: FitResult) -> Prior:
    """Not far from the fitted weights."""
    generator = torch.Generator().manual_seed(3)
    near = {n: v + 0.02 * torch.randn(v.shape, generator=generator) for n, v in fitted.weights.items()}
    return Prior(SPEC, near, "sinr3d bench c4 --scale smoke")


def score(data: bytes, priors: Path | None = None) -> float:
    """PSNR of a file, as its pixels have it; its record says the same."""
    field = sinr3d.decode(data, priors=priors)
    assert field.record is not None
    return field.record.score


def test_adaround_chooses_floor_or_ceiling_and_beats_the_nearest(
    signal: ImageSignal, fitted: FitResult
) -> None:
    grids = {name: Grid(step_for_bits(value.numpy(), 5), 15) for name, value in fitted.weights.items()}

    def loss(values: Weights, generator: torch.Generator) -> torch.Tensor:
        coords, targets = signal.sample(1024, generator)
        return signal.loss(evaluate(SPEC, values, coords), targets)

    def error(symbols: dict[str, np.ndarray]) -> float:
        values = {name: torch.from_numpy(found) * grids[name].step for name, found in symbols.items()}
        return float(loss(values, torch.Generator()))

    by_nearest = nearest(fitted.weights, grids)
    learned = adaround(fitted.weights, grids, loss, steps=150)  # pyright: ignore[reportArgumentType]
    for name, found in learned.items():
        places = fitted.weights[name].numpy() / grids[name].step
        assert np.all((found == np.floor(places)) | (found == np.floor(places) + 1))
    assert error(learned) < 0.7 * error(by_nearest)


def test_each_stage_is_better_than_the_one_before(signal: ImageSignal, fitted: FitResult) -> None:
    def reached(rounding_steps: int, tuning_steps: int) -> float:
        return score(inric.code(SPEC, fitted.weights, signal, InricOptions(4, rounding_steps, tuning_steps)))

    # 4 bits: at 6, learned rounding leaves retraining nothing to find on so small a network.
    plain, rounded, both = reached(0, 0), reached(150, 0), reached(150, 150)
    assert plain + 1 < rounded < both - 0.1
    assert both < fitted.score
    assert plain + 0.8 < reached(0, 150) < both


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_symbols_fit_the_bits_and_the_file_is_about_that_long(
    signal: ImageSignal, fitted: FitResult, bits: int
) -> None:
    options = replace(PLAIN, bits=bits, tuning_steps=10)
    data = inric.code(SPEC, fitted.weights, signal, options)
    for code in unpack_file(data)[0].codes.values():
        assert isinstance(code, DenseCode)
        assert np.abs(code.symbols).max() <= 2 ** (bits - 1) - 1
    assert len(data) < 150 + SPEC.num_weights * bits / 8
    assert psnr(signal.pixels, sinr3d.decode(data).pixels(), peak=255) == pytest.approx(score(data), abs=1e-4)


def test_the_same_options_give_the_same_bytes(signal: ImageSignal, fitted: FitResult) -> None:
    options = replace(PLAIN, rounding_steps=20, tuning_steps=20, seed=4)
    first, second = (inric.code(SPEC, fitted.weights, signal, options) for _ in range(2))
    assert first == second


def test_sixteen_bits_are_coded_by_brotli_and_fewer_by_the_range_coder() -> None:
    assert InricOptions(bits=16).coder == "brotli"
    assert InricOptions(bits=8).coder == "range"


def test_differences_are_shorter_and_need_their_prior(
    signal: ImageSignal, fitted: FitResult, prior: Prior, tmp_path: Path
) -> None:
    ref, loaded = load_prior(save_prior(prior, tmp_path))
    step_of_weights = max(float(value.abs().max()) for value in fitted.weights.values())
    options = replace(PLAIN, bits=8, prior=(ref, loaded), rounding_steps=20, tuning_steps=20)
    data = inric.code(SPEC, fitted.weights, signal, options)
    assert decompress(data, tmp_path).prior == ref
    for name, code in unpack_file(data)[0].codes.items():
        assert isinstance(code, DenseCode)
        assert code.step < step_of_weights / 127, name
    assert score(data, tmp_path) > fitted.score - 0.3
    with pytest.raises(MissingPriorError, match="sinr3d bench c4 --scale smoke"):
        sinr3d.decode(data)


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="bits is 2 to 16, got 17"):
        InricOptions(bits=17)
    with pytest.raises(UsageError, match="0 or more"):
        InricOptions(rounding_steps=-1)


def test_a_prior_of_another_network_is_refused(
    signal: ImageSignal, fitted: FitResult, prior: Prior, tmp_path: Path
) -> None:
    found = load_prior(save_prior(prior, tmp_path))
    with pytest.raises(UsageError, match="the prior is of the network"):
        inric.code(replace(SPEC, width=8), fitted.weights, signal, replace(PLAIN, prior=found))


# The profile


def test_images_are_encoded_by_octaves_and_shapes_are_not(
    signal: ImageSignal, ball: trimesh.Trimesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = inric.network_of(EncodeOptions(profile="inric", quality=0), signal)
    assert (spec.width, spec.frequencies) == (16, inric.FREQUENCIES)
    monkeypatch.setattr(InricOptions, "__init__", _short(InricOptions.__init__))
    data = sinr3d.encode(ball, profile="inric", width=16, hidden_layers=1, steps=150)
    field = sinr3d.decode(data)
    assert (field.kind, field.spec.frequencies) == ("occupancy", 0)
    assert len(data) < 150 + field.spec.num_weights
    assert score(data) > 0.5


def test_the_fit_keeps_rate_times_steps_and_has_an_l1_norm() -> None:
    long = inric.fit_options(EncodeOptions(profile="inric", steps=50_000)).optimizer
    short = inric.fit_options(EncodeOptions(profile="inric", steps=100)).optimizer
    assert (long.name, long.adam_lr, long.l1) == ("adam", 2.5e-4, 1e-5)
    assert short.adam_lr == 2e-3


def test_an_image_goes_there_and_back_by_the_command_line(
    folder: Path, picture: np.ndarray, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InricOptions, "__init__", _short(InricOptions.__init__))
    argv = [
        "encode",
        str(folder / "a.png"),
        "-o",
        str(folder / "i.sinr"),
        "--profile",
        "inric",
        "--bits",
        "7",
    ]
    assert cli.main([*argv, "--steps", "60", "--width", "16", "--hidden-layers", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["profile"], result["width"]) == ("inric", 16)
    assert result["bytes"] < 150 + 7 / 8 * result["weights"]
    pixels = sinr3d.open(folder / "i.sinr").pixels()
    assert psnr(picture, pixels, peak=255) == pytest.approx(result["psnr"], abs=1e-4)


def _short(init: Callable[..., None]) -> Callable[..., None]:
    """Few steps of rounding and retraining, where the options leave them to the default."""

    def made(self: InricOptions, *args: object, **settings: object) -> None:
        init(self, *args, **({"rounding_steps": 5, "tuning_steps": 5} | settings))

    return made


def test_a_prior_goes_through_the_command_line(
    folder: Path, prior: Prior, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InricOptions, "__init__", _short(InricOptions.__init__))
    rates = {f"rate.{name}": torch.full_like(value, 1e-3) for name, value in prior.tensors.items()}
    path = save_prior(replace(prior, tensors={**prior.tensors, **rates}), folder / "priors")
    argv = ["encode", str(folder / "a.png"), "-o", str(folder / "p.sinr"), "--profile", "inric"]
    assert cli.main([*argv, "--prior", str(path), "--steps", "30", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] > 14
    decode = ["decode", str(folder / "p.sinr"), "-o", str(folder / "p.png")]
    assert cli.main([*decode, "--priors", str(path.parent)]) == 0
    capsys.readouterr()
    assert cli.main([*decode, "-f"]) == 1
    assert "sinr3d bench c4 --scale smoke" in capsys.readouterr().err
    assert cli.main([*argv, "-f", "--prior", str(path), "--width", "9"]) == 2
    assert "16 wide, --width says 9" in capsys.readouterr().err
