"""The settings of an encoding run, and their YAML files."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sinr3d.errors import MissingFileError, UsageError
from sinr3d.inr.spec import ACTIVATION_IDS

PROFILES = ("rd", "paper", "coin", "inric", "coinpp", "shacira")
RIVALS = PROFILES[2:]
"""Profiles that are other people's codecs (`sinr3d/baselines`)."""
_PRIORS = ("inric", "coinpp")
_BITS = ("inric", "coinpp", "shacira")
OPTIMIZERS = ("muon", "adam")
_ACTIVATIONS = tuple(ACTIVATION_IDS)
# At equal bytes five layers of sines are ahead of three; seven are level on an image, behind on a shape.
_DEEP, _PUBLISHED = 5, 3
EFFORT_STEPS = {1: 500, 2: 500, 3: 1000, 4: 2000, 5: 3000, 6: 5000, 7: 8000, 8: 13000, 9: 20000}
"""Optimizer steps of a fit by effort; its codes are tuned for as many again, but at effort 1."""


@dataclass(frozen=True)
class EncodeOptions:
    """How a signal is encoded.

    Attributes:
        profile: "rd", the smallest file at the quality asked; "paper", SINR as published; or a rival as
            published: "coin", "inric", "coinpp", "shacira".
        quality: 0 to 100; sets the weights of the network, those of three hidden layers of 16 neurons at 0,
            of 64 at 50, of 256 at 100; the rate follows.
        target_psnr: dB an image must reach; None leaves it to `quality`.
        target_iou: IoU a shape must reach.
        target_size: bytes the file must not exceed.
        slope: how dear a byte is where no target says so; half as much gives a larger, better file of the
            same network. None is 0.1 for an image, 0.3 for a shape, 1 for a scene.
        progressive: order the file so that a beginning of it decodes, to a coarser field.
        effort: 1 to 9; optimizer steps by EFFORT_STEPS; 1 is without fine-tuning of the codes.
        seed: of the fit and of the dictionary.
        device: "auto", "cpu", "cuda" or "cuda:n".
        width: neurons in a hidden layer; None takes the quality's.
        hidden_layers: square matrices between the first and the last layer; None is 5 for sines in `rd`,
            which then need fewest bytes, and 3 otherwise, as in the networks that were published.
        activation: "sine", "gauss", "wire" or "relu".
        steps: optimizer steps of the fit, and as many of the tuning; None takes the effort's.
        optimizer: "muon" or "adam".
        max_seconds: time budget of fit and tuning, half each, a quarter of both for the search of the width
            that a target needs; None is none. The file then depends on the machine's speed.
        half: fit with bfloat16 matrix products (CUDA).
        compile: fit with torch.compile (CUDA; pays for itself in long fits).
        prior: path of the prior file that "coinpp" builds on and "inric" may: what both sides have before.
        bits: depth of the quantizer of "inric", "coinpp" and "shacira"; None takes the published one.
    """

    profile: str = "rd"
    quality: float = 50.0
    target_psnr: float | None = None
    target_iou: float | None = None
    target_size: int | None = None
    slope: float | None = None
    progressive: bool = False
    effort: int = 5
    seed: int = 0
    device: str = "auto"
    width: int | None = None
    hidden_layers: int | None = None
    activation: str = "sine"
    steps: int | None = None
    optimizer: str = "muon"
    max_seconds: float | None = None
    half: bool = False
    compile: bool = False
    prior: str | None = None
    bits: int | None = None

    @property
    def fit_steps(self) -> int:
        """Optimizer steps of the fit."""
        return self.steps or EFFORT_STEPS[self.effort]

    @property
    def num_hidden_layers(self) -> int:
        """Square matrices between the first and the last layer."""
        if self.hidden_layers is not None:
            return self.hidden_layers
        return _DEEP if self.profile == "rd" and self.activation == "sine" else _PUBLISHED

    @property
    def quality_width(self) -> int:
        """Neurons in a hidden layer where only `quality` says so: 16 * 2^(q / 25) sqrt(3 / hidden layers)."""
        return round(16 * 2 ** (self.quality / 25) * math.sqrt(_PUBLISHED / max(self.num_hidden_layers, 1)))

    @property
    def tune_steps(self) -> int:
        """Optimizer steps of the tuning of codes: as many as the fit has, none at effort 1 or but in `rd`."""
        return 0 if self.effort == 1 or self.profile != "rd" else self.fit_steps

    def __post_init__(self) -> None:
        """Refuses options that make no sense."""
        rates = {"target_psnr": self.target_psnr, "max_seconds": self.max_seconds, "slope": self.slope}
        targets = [t for t in (self.target_psnr, self.target_iou, self.target_size) if t is not None]
        checks = [
            (self.profile in PROFILES, f"profile is one of {PROFILES}, got {self.profile!r}"),
            (0 <= self.quality <= 100, f"quality is 0 to 100, got {self.quality}"),
            (self.effort in EFFORT_STEPS, f"effort is 1 to 9, got {self.effort}"),
            (0 <= self.seed < 1 << 32, f"seed is 0 to 4294967295, got {self.seed}"),
            (self.width is None or 2 <= self.width <= 1024, f"width is 2 to 1024, got {self.width}"),
            (0 <= self.num_hidden_layers <= 16, f"hidden_layers is 0 to 16, got {self.hidden_layers}"),
            (
                self.activation in ACTIVATION_IDS,
                f"activation is one of {_ACTIVATIONS}",
            ),
            (self.steps is None or self.steps >= 1, f"steps is at least 1, got {self.steps}"),
            (self.optimizer in OPTIMIZERS, f"optimizer is one of {OPTIMIZERS}, got {self.optimizer!r}"),
            *((v is None or 0 < v < math.inf, f"{k} is above 0, got {v}") for k, v in rates.items()),
            (len(targets) <= 1, "give one of target_psnr, target_iou and target_size, not several"),
            (
                not targets or self.profile == "rd",
                f"targets need the profile rd; {self.profile} fixes its own rate",
            ),
            (not self.progressive or self.profile == "rd", "progressive files need the profile rd"),
            (self.target_iou is None or 0 < self.target_iou < 1, "target_iou lies between 0 and 1"),
            (self.target_size is None or self.target_size >= 200, "target_size is at least 200 bytes"),
            *self._checks_of_rivals(),
        ]
        for holds, message in checks:
            if not holds:
                raise UsageError(message)

    def _checks_of_rivals(self) -> list[tuple[bool, str]]:
        """What has to hold of `prior` and `bits`, each with what to say where it does not."""
        makes = "sinr3d bench c5 trains one"
        return [
            (
                self.prior is None or self.profile in _PRIORS,
                f"a prior belongs to the profiles inric and coinpp; {self.profile} has none",
            ),
            (
                self.prior is not None or self.profile != "coinpp",
                f"the profile coinpp needs the prior that its files build on: give its path; {makes}",
            ),
            (
                self.bits is None or self.profile in _BITS,
                f"bits belong to the profiles inric, coinpp and shacira; {self.profile} has its own depth",
            ),
            (self.bits is None or 2 <= self.bits <= 16, f"bits is 2 to 16, got {self.bits}"),
        ]


def load_options(path: str | Path) -> EncodeOptions:
    """Reads EncodeOptions from a YAML file: a mapping of its fields, everything else at its default.

    Args:
        path: the file; examples are in `configs/`.

    Raises:
        MissingFileError: there is no such file.
        UsageError: not a mapping, an unknown key (named, beside the known), or a value out of type or range.
    """
    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingFileError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
    if not isinstance(settings, dict):
        raise UsageError(f"{path} is not a mapping of settings, one 'name: value' a line")
    fields = {field.name: field for field in dataclasses.fields(EncodeOptions)}
    for key, value in settings.items():
        if key not in fields:
            raise UsageError(f"{path}: unknown key {key!r}; known are {', '.join(fields)}")
        wanted = _type_names(fields[key])
        if not _names_of(value) & set(wanted):
            raise UsageError(f"{path}: {key} is {' or '.join(wanted)}, got {value!r}")
    return EncodeOptions(**settings)


def _type_names(field: "dataclasses.Field[Any]") -> list[str]:
    """The types of a field by name: `int | None` is ["int", "None"]."""
    annotation = field.type.__name__ if isinstance(field.type, type) else str(field.type)
    return annotation.split(" | ")


def _names_of(value: Any) -> set[str]:
    """The types that a YAML value can stand for: an integer is a float too."""
    if value is None:
        return {"None"}
    return {"int", "float"} if type(value) is int else {type(value).__name__}
