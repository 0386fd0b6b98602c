"""The domain of a radiance field: how its networks are put together, sampled along rays and shown.

With coords x in [-1, 1]^3, a unit direction d and the networks of the file,

    (raw, features) = field(x)                 out_features = 1 + G
    density = density_scale * exp(raw)         in 1 / scene unit; 0 outside [-1, 1]^3
    color = sigmoid(color(SH(d), features))    (R, G, B) in [0, 1]
    proposal.k(x)                              raw density of sampling round k, out_features = 1

Positions p of the scene frame become coords by the box, x = (p - center) / half size, or, with a contraction,
x = contract(p) / 2, contract(p) = p inside the unit ball of the norm and (2 - 1/|p|) p/|p| outside
(mip-NeRF 360, Barron et al. 2022, equation 10).
"""

from dataclasses import dataclass
from typing import ClassVar

CONTRACTIONS = {"none": 0, "linf": 1, "l2": 2}
SPACINGS = {"uniform": 0, "piecewise": 1}
DIRECTIONS = {"sh": 1, "sh_half": 2}
BACKGROUNDS = {"color": 0, "last_sample": 1}

Pose = tuple[float, ...]
"""A (3, 4) camera-to-scene matrix row by row: x right, y up, looking along -z; float32-exact."""


@dataclass(frozen=True)
class DefaultCameras:
    """Cameras to look at the scene with: one set of intrinsics and a few poses in the scene frame.

    Attributes:
        width: pixels. 1 to 65535.
        height: pixels. 1 to 65535.
        focal: (fx, fy), pixels.
        center: (cx, cy), pixels from the upper left corner.
        poses: up to 32.
    """

    width: int
    height: int
    focal: tuple[float, float]
    center: tuple[float, float]
    poses: tuple[Pose, ...]


@dataclass(frozen=True)
class SceneDomain:
    """What a renderer must know of a radiance field beside its networks. All floats are float32-exact.

    Attributes:
        box: lowest and highest corner of the scene, scene units, 6 numbers.
        contraction: "none", "linf" or "l2" (the norm).
        bounds: "box": a ray is sampled inside the box, beyond near; "range": from near to far.
        near: distance along the ray, scene units.
        far: the same.
        spacing: of the first round of samples: "uniform", or "piecewise" (half uniform up to distance 1,
            half in 1/distance beyond).
        samples: samples a ray in each round; one round for each proposal, then the final one.
        density_scale: see the module.
        direction: "sh": real spherical harmonics of d; "sh_half": of (d + 1) / 2 (nerfstudio's torch code).
        direction_levels: levels of the spherical harmonics, 0 to 4: levels^2 inputs; 0 is no direction.
        background: "color": `color` shows through; "last_sample": the color of the ray's last sample.
        color: (R, G, B), 0 to 1.
        transform: (3, 4) row by row, the scene frame from the data's: what the data parser applied.
        scale: what the data parser multiplied positions by after that.
        cameras: default views; None is none.
    """

    kind: ClassVar[str] = "nerf"
    box: tuple[float, float, float, float, float, float]
    contraction: str = "none"
    bounds: str = "box"
    near: float = 0.05
    far: float = 1000.0
    spacing: str = "uniform"
    samples: tuple[int, ...] = (128,)
    density_scale: float = 1.0
    direction: str = "sh"
    direction_levels: int = 3
    background: str = "color"
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    transform: Pose = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    scale: float = 1.0
    cameras: DefaultCameras | None = None
