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

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from sinr3d.codec.fields import Reader, float32, name_of, pack_varint
from sinr3d.codec.limits import check_limit
from sinr3d.errors import CorruptFileError
from sinr3d.inr.spec import AnySpec, SceneSpec

CONTRACTIONS = {"none": 0, "linf": 1, "l2": 2}
BOUNDS = {"box": 0, "range": 1}
SPACINGS = {"uniform": 0, "piecewise": 1}
DIRECTIONS = {"sh": 1, "sh_half": 2}
BACKGROUNDS = {"color": 0, "last_sample": 1}

_CHOICES = (
    ("the contraction", CONTRACTIONS),
    ("the kind of bounds", BOUNDS),
    ("the spacing", SPACINGS),
    ("the encoding of directions", DIRECTIONS),
    ("the background", BACKGROUNDS),
)

IDENTITY = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
MAX_SAMPLES = 4096
"""Samples a ray in all rounds together."""
MAX_ROUNDS = 8
MAX_POSES = 32
_LARGEST = 1e30
_HAS_TRANSFORM, _HAS_SCALE, _HAS_CAMERAS = 1, 2, 4

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
        poses: 1 to 32.
    """

    width: int
    height: int
    focal: tuple[float, float]
    center: tuple[float, float]
    poses: tuple[Pose, ...]

    def __post_init__(self) -> None:
        """Rounds every number to what a file can hold.

        Raises:
            CorruptFileError, LimitError: the cameras make no sense.
        """
        object.__setattr__(self, "focal", _rounded(self.focal, 2, "the focal length of the cameras"))
        object.__setattr__(self, "center", _rounded(self.center, 2, "the principal point of the cameras"))
        poses = tuple(_rounded(pose, 12, "a camera pose") for pose in self.poses)
        object.__setattr__(self, "poses", poses)
        check_limit("the width of the cameras", self.width, 1, 65535)
        check_limit("the height of the cameras", self.height, 1, 65535)
        check_limit("the number of camera poses", len(poses), 1, MAX_POSES)
        _refuse_unless(min(self.focal) > 0, f"the focal length of the cameras is {self.focal}")

    def pack(self) -> bytes:
        """The fields of the cameras."""
        sizes = pack_varint(self.width) + pack_varint(self.height)
        poses = b"".join(_pack_floats(pose) for pose in self.poses)
        return sizes + _pack_floats((*self.focal, *self.center)) + bytes([len(self.poses)]) + poses

    @staticmethod
    def unpack(reader: Reader) -> "DefaultCameras":
        """Reads what `pack` wrote."""
        width, height = reader.varint(), reader.varint()
        fx, fy, cx, cy = reader.unpack("4f")
        (count,) = reader.unpack("B")
        check_limit("the number of camera poses", count, 1, MAX_POSES)
        poses = tuple(reader.unpack("12f") for _ in range(count))
        return DefaultCameras(width, height, (fx, fy), (cx, cy), poses)


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
    transform: Pose = IDENTITY
    scale: float = 1.0
    cameras: DefaultCameras | None = None

    def __post_init__(self) -> None:
        """Rounds every number to what a file can hold.

        Raises:
            CorruptFileError, LimitError: the domain makes no sense.
        """
        for name, count in (("box", 6), ("color", 3), ("transform", 12)):
            value = _rounded(getattr(self, name), count, f"the {name} of the scene")
            object.__setattr__(self, name, value)
        for name in ("near", "far", "density_scale", "scale"):
            (value,) = _rounded((getattr(self, name),), 1, f"{name} of the scene")
            object.__setattr__(self, name, value)
        object.__setattr__(self, "samples", tuple(int(count) for count in self.samples))
        self._check()

    def _check(self) -> None:
        names = (self.contraction, self.bounds, self.spacing, self.direction, self.background)
        for (what, ids), name in zip(_CHOICES, names, strict=True):
            _refuse_unless(name in ids, f"{what} is {name!r}; the format knows {sorted(ids)}")
        sides = [high - low for low, high in zip(self.box[:3], self.box[3:], strict=True)]
        _refuse_unless(min(sides) > 0, f"the box of the scene {self.box} is empty")
        _refuse_unless(0 <= self.near < self.far, f"a ray goes from near {self.near} to far {self.far}")
        _refuse_unless(self.density_scale > 0, f"the density scale is {self.density_scale}")
        _refuse_unless(self.scale > 0, f"the scale of the scene is {self.scale}")
        in_range = min(self.color) >= 0 and max(self.color) <= 1
        _refuse_unless(in_range, f"the background color is {self.color}")
        _refuse_unless(_determinant(self.transform) != 0, "the transform of the scene is singular")
        check_limit("the rounds of sampling", len(self.samples), 1, MAX_ROUNDS)
        check_limit("the samples of a round", min(self.samples), 1, MAX_SAMPLES)
        check_limit("the samples of a ray", sum(self.samples), 1, MAX_SAMPLES)
        check_limit("the levels of spherical harmonics", self.direction_levels, 0, 4)

    def check_network(self, spec: AnySpec) -> None:
        """Refuses networks that do not make up the field of the module's docstring."""
        if not isinstance(spec, SceneSpec):
            raise CorruptFileError("a scene needs the networks of a scene, the file holds a single network")
        rounds = len(spec.networks) - 1
        if rounds != len(self.samples):
            raise CorruptFileError(
                f"the scene has {rounds - 1} proposal networks and {len(self.samples)} rounds of samples; "
                f"the last round alone has no proposal network"
            )
        geometry = spec["field"].out_features - 1
        for role, network in spec.networks:
            wanted = {"field": (3, 1 + geometry), "color": (self.direction_levels**2 + geometry, 3)}
            found = (network.in_features, network.out_features)
            if found != wanted.get(role, (3, 1)):
                raise CorruptFileError(
                    f"the network {role} maps {found[0]} to {found[1]} values; "
                    f"this scene needs {wanted.get(role, (3, 1))}"
                )

    def pack(self) -> bytes:
        """The section DOMAIN of a scene."""
        has_transform, has_scale = self.transform != IDENTITY, self.scale != 1.0
        flags = _HAS_TRANSFORM * has_transform + _HAS_SCALE * has_scale
        flags += _HAS_CAMERAS * (self.cameras is not None)
        ids = [CONTRACTIONS[self.contraction], BOUNDS[self.bounds], SPACINGS[self.spacing]]
        ids += [DIRECTIONS[self.direction], self.direction_levels, BACKGROUNDS[self.background]]
        out = bytes([flags, *ids]) + _pack_floats((*self.box, self.near, self.far, self.density_scale))
        out += _pack_floats(self.color) + bytes([len(self.samples)])
        out += b"".join(pack_varint(count) for count in self.samples)
        out += _pack_floats(self.transform) if has_transform else b""
        out += _pack_floats((self.scale,)) if has_scale else b""
        return out + (self.cameras.pack() if self.cameras is not None else b"")

    @staticmethod
    def unpack(reader: Reader) -> "SceneDomain":
        """Reads what `pack` wrote."""
        flags, contraction, bounds, spacing, direction, levels, background = reader.unpack("7B")
        x, y, z, to_x, to_y, to_z, near, far, density_scale, red, green, blue = reader.unpack("12f")
        (rounds,) = reader.unpack("B")
        check_limit("the rounds of sampling", rounds, 1, MAX_ROUNDS)
        samples = tuple(reader.varint() for _ in range(rounds))
        if flags >> 3:
            raise CorruptFileError(f"the flags of the scene are {flags}; the format allows 0 to 7")
        transform = reader.unpack("12f") if flags & _HAS_TRANSFORM else IDENTITY
        (scale,) = reader.unpack("f") if flags & _HAS_SCALE else (1.0,)
        cameras = DefaultCameras.unpack(reader) if flags & _HAS_CAMERAS else None
        return SceneDomain(
            (x, y, z, to_x, to_y, to_z),
            name_of(CONTRACTIONS, contraction, "contraction"),
            name_of(BOUNDS, bounds, "kind of bounds"),
            near,
            far,
            name_of(SPACINGS, spacing, "spacing"),
            samples,
            density_scale,
            name_of(DIRECTIONS, direction, "encoding of directions"),
            levels,
            name_of(BACKGROUNDS, background, "background"),
            (red, green, blue),
            transform,
            scale,
            cameras,
        )


def _rounded(values: Iterable[float], count: int, what: str) -> tuple[float, ...]:
    """The values as float32-exact numbers; refuses another count, and what is not finite."""
    rounded = tuple(float32(float(value)) for value in values)
    if len(rounded) != count or not all(abs(value) < _LARGEST for value in rounded):
        raise CorruptFileError(f"{what} is {rounded}; {count} numbers below 1e30 are due")
    return rounded


def _refuse_unless(holds: bool, what: str) -> None:
    if not holds:
        raise CorruptFileError(f"{what}: that makes no sense")


def _pack_floats(values: tuple[float, ...]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _determinant(pose: Pose) -> float:
    a, b, c, _, d, e, f, _, g, h, i, _ = pose
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
