"""COIN++'s meta-learning: a base network that three gradient steps on a latent vector fit to any patch.

    min over theta of  E[ loss(theta, z_3) ],   z_0 = 0,   z_{k+1} = z_k - rate * d loss(theta, z_k) / d z_k

theta are the weights of the base and of the map from latents to shifts (`inr/modulated.py`); the gradient
goes through the inner steps, second derivatives and all (COIN++, Dupont et al. 2022; Zintgraf et al. 2019).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sinr3d.errors import UsageError
from sinr3d.inr.mlp import Weights, build
from sinr3d.inr.modulated import MODULATION_BIAS, MODULATION_WEIGHT, evaluate_modulated, patch_counts
from sinr3d.inr.spec import InrSpec
from sinr3d.modalities.image import ImageSignal, pixel_coords

Progress = Callable[[int, int, float], None]
"""Called with outer steps done, outer steps in all and the PSNR of the last batch, dB."""


_POINTS_AT_ONCE = 1 << 16  # of all patches together, bounds the memory of a step


@dataclass(frozen=True)
class TrainOptions:
    """A base network, and how it is meta-learned. The defaults are a base for a CPU.

    The SINR paper's base is width 300 with 5 layers, which COIN++ counts with the last: hidden_layers 3.
    COIN++ itself has for Kodak 10 layers of width 512, an omega of 50 for coordinates in [0, 1] (25 for
    ours), outer_rate 1e-6 without a schedule, 64 tasks of all points a step, and more than a million steps on
    Vimeo-90k (its configs/config_kodak.txt and results/kodak).

    Attributes:
        width: neurons in a hidden layer.
        hidden_layers: square matrices; all but the last layer are modulated.
        latent_size: d, values of a latent vector.
        omega: frequency of all layers; float32-exact.
        patch: pixels a side of a patch; 0 for whole images.
        steps: outer steps, of Adam.
        tasks: patches (or images) a step, cropped at random places.
        points: pixels of each, the same places in all; all of a patch where it has no more.
        inner_steps: gradient steps on the latents, from zero.
        inner_rate: of these, for the mean squared error of samples in [0, 1].
        outer_rate: peak rate of Adam, falling to zero along a cosine. Wide bases want less: about 1e-3 for a
            width of 96, 3e-4 for 300.
        seed: of the weights and of the batches.
        device: "cpu", "cuda", ...
    """

    width: int = 96
    hidden_layers: int = 3
    latent_size: int = 64
    omega: float = 10.0
    patch: int = 32
    steps: int = 1000
    tasks: int = 16
    points: int = 128
    inner_steps: int = 3
    inner_rate: float = 1e-2
    outer_rate: float = 1e-3
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuses sizes that make no sense."""
        for name in ("width", "latent_size", "steps", "tasks", "points", "inner_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} of a COIN++ base is at least 1, got {getattr(self, name)}")
        if min(self.hidden_layers, self.patch) < 0:
            raise UsageError(
                f"hidden_layers and patch are at least 0, got {(self.hidden_layers, self.patch)}"
            )

    def base(self, channels: int) -> InrSpec:
        """The base network, of images with so many channels."""
        return InrSpec(2, channels, self.width, self.hidden_layers, "sine", self.omega, self.omega)


def initial_tensors(base: InrSpec, latent_size: int, seed: int) -> Weights:
    """A fresh base and modulation map: M uniform in [-1, 1], m = 0.

    COIN++ has M within 1 / sqrt(d). M sqrt(d) times as large is the same network with an inner rate d times
    as large: at the published 0.01 alone three inner steps do little until M has grown (400 outer steps,
    d = 16, Kodak at a quarter of its size: 16.0 dB, with ten times the rate 19.7 dB).
    """
    tensors = build(base, seed).weights()
    shifts = (base.hidden_layers + 1) * base.width
    generator = torch.Generator().manual_seed(seed + 1)
    uniform = 2 * torch.rand(shifts, latent_size, generator=generator) - 1
    return tensors | {
        MODULATION_WEIGHT: uniform,
        MODULATION_BIAS: torch.zeros(shifts),
    }


def fit_latents(
    base: InrSpec,
    tensors: Mapping[str, Tensor],
    coords: Tensor,
    targets: Tensor,
    steps: int,
    rate: float,
    *,
    weights: Tensor | None = None,
    differentiable: bool = False,
) -> Tensor:
    """The inner loop, for all patches at once: gradient steps on latents that start at zero.

    Args:
        base: the base network.
        tensors: its weights and the modulation map.
        coords: (P, N, 2).
        targets: (P, N, C), samples in [-1, 1].
        steps: gradient steps.
        rate: of a step.
        weights: (P, N), 0 where a patch has no pixel; all 1 by default.
        differentiable: keep the graph, so that the latents have gradients by the tensors.

    Returns:
        (P, d).
    """
    latents = coords.new_zeros(len(coords), tensors[MODULATION_WEIGHT].shape[1]).requires_grad_()
    present = coords.new_ones(coords.shape[:2]) if weights is None else weights
    shares = present / present.sum(1, keepdim=True)
    size = coords.shape[1] if differentiable else max(1, _POINTS_AT_ONCE // len(coords))
    parts = list(zip(coords.split(size, 1), targets.split(size, 1), shares.split(size, 1), strict=True))
    for _ in range(steps):
        gradient = torch.zeros_like(latents)
        for part in parts:
            with torch.enable_grad():
                errors = squared_errors(base, tensors, latents, *part)
                (slope,) = torch.autograd.grad(errors.sum(), latents, create_graph=differentiable)
            gradient = gradient + slope
        latents = latents - rate * gradient
        if not differentiable:
            latents = latents.detach().requires_grad_()
    return latents if differentiable else latents.detach()


def squared_errors(
    base: InrSpec,
    tensors: Mapping[str, Tensor],
    latents: Tensor,
    coords: Tensor,
    targets: Tensor,
    weights: Tensor,
) -> Tensor:
    """Mean squared error of each patch (P,), of samples in [0, 1] as the published rates expect.

    Args:
        base: the base network.
        tensors: its weights and the modulation map.
        latents: (P, d).
        coords: (P, N, 2).
        targets: (P, N, C), samples in [-1, 1].
        weights: (P, N), of the points; 1 / N each for the mean.
    """
    errors = (evaluate_modulated(base, tensors, latents, coords) - targets).square().mean(2) / 4
    return (errors * weights).sum(1)


def meta_learn(
    images: Sequence[np.ndarray], options: TrainOptions, on_progress: Progress | None = None
) -> Weights:
    """Meta-learns a base and its modulation map on random patches of the images.

    Args:
        images: (H, W, C) uint8 or uint16, all of one C.
        options: the base, and how.
        on_progress: called every step.

    Returns:
        The base's weights, "modulation.weight" and "modulation.bias", float32 on the CPU.

    Raises:
        UsageError: no image, one smaller than a patch, or images that differ in their channels.
    """
    tasks = _Tasks(images, options)
    base = options.base(tasks.channels)
    initial = initial_tensors(base, options.latent_size, options.seed)
    tensors = {name: value.to(options.device).requires_grad_() for name, value in initial.items()}
    optimizer = torch.optim.Adam(tensors.values(), lr=options.outer_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    generator = torch.Generator().manual_seed(options.seed + 2)
    for step in range(options.steps):
        coords, targets = (part.to(options.device) for part in tasks.sample(generator))
        errors = _adapted_errors(base, tensors, coords, targets, options)
        optimizer.zero_grad(set_to_none=True)
        errors.mean().backward()
        optimizer.step()
        schedule.step()
        if on_progress is not None:
            on_progress(step + 1, options.steps, float(-10 * errors.detach().log10().mean()))
    return {name: value.detach().float().cpu() for name, value in tensors.items()}


def _adapted_errors(
    base: InrSpec, tensors: Mapping[str, Tensor], coords: Tensor, targets: Tensor, options: TrainOptions
) -> Tensor:
    """Errors after the inner loop (P,), with the graph through it."""
    steps, rate = options.inner_steps, options.inner_rate
    latents = fit_latents(base, tensors, coords, targets, steps, rate, differentiable=True)
    weights = coords.new_full(coords.shape[:2], 1 / coords.shape[1])
    return squared_errors(base, tensors, latents, coords, targets, weights)


class _Tasks:
    """Random patches of images, or random images, as batches of coordinates and samples."""

    def __init__(self, images: Sequence[np.ndarray], options: TrainOptions) -> None:
        self.options = options
        self.images = [samples_of(ImageSignal(pixels)) for pixels in images]
        channels = {image.shape[2] for image in self.images}
        if len(channels) != 1:
            raise UsageError(f"COIN++ learns from images of one number of channels, got {sorted(channels)}")
        (self.channels,) = channels
        smallest = min(min(image.shape[:2]) for image in self.images)
        if smallest < options.patch:
            raise UsageError(
                f"an image is {smallest} pixels wide or high, patches of {options.patch} do not fit; "
                "leave it out, or take smaller patches"
            )

    def sample(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Coordinates (tasks, points, 2) and samples (tasks, points, C)."""
        options = self.options
        points = min(options.points, options.patch**2 or options.points)
        places = torch.rand(points, 2, generator=generator)
        chosen = torch.randint(len(self.images), (options.tasks,), generator=generator)
        tasks = [self._task(self.images[index], places, generator) for index in chosen.tolist()]
        coords, targets = zip(*tasks, strict=True)
        return torch.stack(coords), torch.stack(targets)

    def _task(self, image: Tensor, places: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A patch of the image; places (points, 2) are fractions of its sides, x and y."""
        height, width = image.shape[:2]
        side = self.options.patch
        size = torch.tensor([side, side] if side else [width, height])
        free = torch.tensor([width, height]) - size + 1
        corner = (torch.rand(2, generator=generator) * free).long()
        local = (places * size).long()
        x, y = (corner + local).T
        return (2 * local + 1) / size - 1, image[y, x]


def patches_of(signal: ImageSignal, patch: int) -> tuple[Tensor, Tensor, Tensor]:
    """All patches of an image, row by row.

    Args:
        signal: the image.
        patch: pixels a side, 0 for the whole image.

    Returns:
        Coordinates (P, N, 2), samples (P, N, C) and weights (P, N), 0 where a patch reaches beyond the image.
    """
    domain = signal.domain
    samples = samples_of(signal)
    if patch == 0:
        flat = samples.reshape(1, -1, domain.channels)
        return pixel_coords(domain)[None], flat, torch.ones(flat.shape[:2])
    rows, columns = patch_counts(patch, (domain.width, domain.height))
    padding = (0, 0, 0, columns * patch - domain.width, 0, rows * patch - domain.height)

    def cut(image: Tensor) -> Tensor:
        tall = functional.pad(image, padding).reshape(rows, patch, columns, patch, -1)
        return tall.transpose(1, 2).reshape(rows * columns, patch * patch, -1)

    coords = pixel_coords(replace(domain, width=patch, height=patch))
    weights = cut(torch.ones(domain.height, domain.width, 1))[..., 0]
    return coords.expand(rows * columns, -1, -1), cut(samples), weights


def samples_of(signal: ImageSignal) -> Tensor:
    """Samples (H, W, C) in [-1, 1]."""
    return torch.from_numpy(signal.pixels.astype(np.float32)) * (2.0 / (2**signal.domain.bits - 1)) - 1.0
