"""Files that build on a prior, through the API and the command line: differences, and images of latents."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sinr3d
from sinr3d import cli
from sinr3d.codec.header import ImageDomain, OccupancyDomain, PriorRef
from sinr3d.codec.pipeline import compress
from sinr3d.codec.prior import Prior, load_prior, save_prior
from sinr3d.codec.tensors import DensePlan, HalfPlan
from sinr3d.config import EncodeOptions
from sinr3d.encoder import FittedSignal, code_network, fit_network
from sinr3d.errors import MissingPriorError, UsageError
from sinr3d.fit.loop import FitOptions, fit
from sinr3d.fit.optim import OptimizerOptions
from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.modulated import MODULATION_BIAS, MODULATION_WEIGHT, evaluate_modulated
from sinr3d.inr.spec import InrSpec, ModulatedSpec, default_spec, tensor_shapes
from sinr3d.modalities.image import ImageSignal

ORIGIN = "sinr3d bench c5 --scale smoke"
BASE = default_spec(2, 3, 12, 2)
SIZE = 4
WIDTH, HEIGHT, PATCH = 11, 7, 4  # patches at the lower and the right edge are smaller
Capture = pytest.CaptureFixture[str]


def make_prior(spec: InrSpec) -> Prior:
    rows = (spec.hidden_layers + 1) * spec.width
    generator = torch.Generator().manual_seed(4)
    shifts = {
        MODULATION_WEIGHT: torch.randn(rows, SIZE, generator=generator) / 30,
        MODULATION_BIAS: torch.randn(rows, generator=generator) / 30,
    }
    return Prior(spec, build(spec, seed=6).weights() | shifts, ORIGIN)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for priors; no others are to be found."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SINR3D_PRIORS", raising=False)
    return tmp_path / "priors"


def latents_file(folder: Path, patch: int = PATCH) -> tuple[bytes, torch.Tensor, Prior]:
    ref, prior = load_prior(save_prior(make_prior(BASE), folder))
    rows, columns = (2, 3) if patch else (1, 1)
    latents = torch.randn(rows * columns, SIZE, generator=torch.Generator().manual_seed(5)).half().float()
    spec = ModulatedSpec(BASE, SIZE, patch, rows, columns)
    domain = ImageDomain(WIDTH, HEIGHT, 3)
    data = compress({"latents": latents}, spec, domain, {"latents": HalfPlan()}, coder="laws", prior=ref)
    return data, latents, prior


def shape_file(folder: Path) -> tuple[bytes, dict[str, torch.Tensor], PriorRef]:
    """A ball, half of it in the prior."""
    spec = InrSpec(3, 1, 8, 0, "gauss", 1.0, 1.0)
    weights = {t.name: torch.zeros(t.shape) for t in tensor_shapes(spec)}
    weights["first.weight"][torch.arange(6), torch.arange(6) // 2] = 1.0
    weights["last.weight"] += 1.0
    weights["last.bias"] -= 6.6
    half = {name: values / 2 for name, values in weights.items()}
    ref, _ = load_prior(save_prior(Prior(spec, half, ORIGIN), folder))
    plans = {name: DensePlan(2.0**-12) for name in weights}
    domain = OccupancyDomain.around(np.array([[-1.0, -1, -1], [1, 1, 1]]))
    return compress(half, spec, domain, plans, prior=ref), weights, ref


@pytest.mark.parametrize("patch", [0, PATCH])
def test_pixels_of_an_image_of_latents(folder: Path, patch: int) -> None:
    data, latents, prior = latents_file(folder, patch)
    field = sinr3d.decode(data, priors=folder)
    wanted = np.empty((HEIGHT, WIDTH, 3))
    side = patch or max(WIDTH, HEIGHT)
    for index, (top, left) in enumerate(itertools.product(range(0, HEIGHT, side), range(0, WIDTH, side))):
        y, x = torch.meshgrid(
            torch.arange(top, min(top + side, HEIGHT)) - top,
            torch.arange(left, min(left + side, WIDTH)) - left,
            indexing="ij",
        )
        sizes = (patch, patch) if patch else (WIDTH, HEIGHT)
        own = torch.stack([(2 * x + 1) / sizes[0] - 1, (2 * y + 1) / sizes[1] - 1], -1).flatten(0, 1)
        values = evaluate_modulated(BASE, prior.tensors, latents[index : index + 1], own[None])[0]
        wanted[top : top + side, left : left + side] = values.view(*x.shape, 3).numpy()
    samples = np.clip(np.rint((wanted + 1) * 127.5), 0, 255)
    assert np.abs(field.pixels() - samples).max() <= 1
    assert np.mean(field.pixels() == samples) > 0.98


def test_an_image_of_latents_anywhere(folder: Path) -> None:
    data, _, _ = latents_file(folder)
    field = sinr3d.decode(data, priors=folder)
    assert field.kind == "image"
    assert field([[0.0, 0.0]]).shape == (1, 3)
    assert field(np.empty((0, 2))).shape == (0, 3)
    coords = np.random.default_rng(0).uniform(-1, 1, (40_000, 2))
    whole = field.evaluate(torch.from_numpy(coords))
    assert torch.allclose(whole[123:125], field.evaluate(torch.from_numpy(coords[123:125])), atol=1e-5)
    with pytest.raises(UsageError, match="an image of latents"):
        _ = field.spec
    with pytest.raises(ValueError, match=r"coords are \(\.\.\., 2\)"):
        field([1.0, 2.0, 3.0])


def test_a_shape_that_adds_to_a_prior(folder: Path) -> None:
    data, weights, _ = shape_file(folder)
    (folder.parent / "a.sinr").write_bytes(data)
    field = sinr3d.open(folder.parent / "a.sinr", priors=str(folder))
    coords = torch.rand(50, 3) - 0.5
    assert torch.allclose(field.evaluate(coords), evaluate(field.spec, weights, coords), atol=0.02)


def test_verbs_with_priors(folder: Path, capsys: Capture) -> None:
    data, _, prior = latents_file(folder)
    shape, _, ref = shape_file(folder)
    at = folder.parent
    (at / "a.sinr").write_bytes(data)
    (at / "b.sinr").write_bytes(shape)
    found = ["--priors", str(folder)]
    assert cli.main(["decode", str(at / "a.sinr"), "-o", str(at / "a.png"), *found]) == 0
    assert np.array_equal(np.asarray(Image.open(at / "a.png")), sinr3d.decode(data, priors=folder).pixels())
    assert cli.main(["mesh", str(at / "b.sinr"), "-o", str(at / "b.ply"), "--resolution", "24", *found]) == 0
    capsys.readouterr()
    assert cli.main(["eval", str(at / "a.sinr"), str(at / "a.png"), "--json", *found]) == 0
    assert json.loads(capsys.readouterr().out)["psnr"] is None  # infinite
    assert cli.main(["info", str(at / "b.sinr"), "--verify", "--json", *found]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["prior"] == {"id": ref.id, "origin": ORIGIN}
    assert facts["verified"]
    assert cli.main(["info", str(at / "a.sinr"), "--json"]) == 0  # the header needs no prior
    facts = json.loads(capsys.readouterr().out)
    assert facts["latents"] == {"latent_size": SIZE, "patch": PATCH, "rows": 2, "columns": 3}
    assert facts["network"]["width"] == prior.spec.width
    assert "PRIOR" in facts["sections"]


@pytest.mark.parametrize(
    "verb", [["decode", "-o", "out.ply"], ["mesh", "-o", "out.ply"], ["info", "--verify"]]
)
def test_a_prior_that_is_missing(folder: Path, verb: list[str], capsys: Capture) -> None:
    data, _, ref = shape_file(folder)
    path, empty = folder.parent / "b.sinr", folder.parent / "empty"
    path.write_bytes(data)
    out = [str(folder.parent / part) if part == "out.ply" else part for part in verb]
    assert cli.main([out[0], str(path), *out[1:], "--priors", str(empty)]) == 1
    message = capsys.readouterr().err
    assert all(part in message for part in (str(path), f"{ref.id}.prior", str(empty), ".cache", ORIGIN))
    assert "Traceback" not in message
    with pytest.raises(MissingPriorError):
        sinr3d.decode(data)


def test_the_folder_of_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, _, _ = shape_file(folder)
    monkeypatch.setenv("SINR3D_PRIORS", str(folder))
    assert sinr3d.decode(data).contents.prior is not None


@pytest.fixture(scope="module")
def pair() -> tuple[ImageSignal, FittedSignal, Prior]:
    """A picture, the network of one much like it as the prior, and what it becomes for this one."""
    y, x = np.mgrid[0:32, 0:48] / 8
    waves = np.stack([np.sin(x + y), np.cos(x), np.sin(2 * y)], axis=-1)
    like, signal = (ImageSignal((127.5 + light * waves).astype(np.uint8)) for light in (90, 100))
    before = fit_network(like, EncodeOptions(width=12, hidden_layers=3, steps=300))
    options = FitOptions(steps=100, batch=1536, optimizer=OptimizerOptions(muon_lr=5e-4, adam_lr=2e-4))
    fitted = FittedSignal(before.spec, fit(before.spec, signal, options, start=before.result.weights))
    return signal, fitted, Prior(before.spec, before.result.weights, ORIGIN)


@pytest.mark.parametrize(("effort", "lost_db"), [(1, 0.25), (2, 2.0)])
def test_the_default_profile_codes_differences_in_fewer_bytes(
    folder: Path, pair: tuple[ImageSignal, FittedSignal, Prior], effort: int, lost_db: float
) -> None:
    signal, fitted, prior = pair
    known = load_prior(save_prior(prior, folder))
    options = EncodeOptions(effort=effort, steps=100, slope=1.0)
    whole = code_network(fitted, signal, options)
    coded = code_network(fitted, signal, options, prior=known)
    assert len(coded.data) < 0.85 * len(whole.data)
    field = sinr3d.decode(coded.data, priors=folder)
    assert field.contents.prior == known[0]
    assert signal.score(field.evaluate) == pytest.approx(coded.score, abs=1e-3)
    assert coded.score > fitted.result.score - lost_db


def test_a_prior_of_another_network_is_refused(
    folder: Path, pair: tuple[ImageSignal, FittedSignal, Prior]
) -> None:
    signal, fitted, prior = pair
    known = load_prior(save_prior(prior, folder))
    other = FittedSignal(replace(fitted.spec, hidden_omega=20.0), fitted.result)
    with pytest.raises(UsageError, match="the prior is of the network"):
        code_network(other, signal, EncodeOptions(), prior=known)
