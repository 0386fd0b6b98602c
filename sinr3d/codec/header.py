"""The small sections of a file: the domain of the signal, the prior it needs, the record of how it was made.

Each dataclass packs and unpacks itself; a field is read, written and shown from one place. Needs neither
torch nor numpy, so that `sinr3d info` starts at once. `FORMAT.md` holds the normative layout.
"""

import math
import struct
from dataclasses import dataclass
from typing import Any, ClassVar

from sinr3d.codec.fields import Reader, float32, name_of, pack_signed, pack_text, pack_varint
from sinr3d.codec.limits import check_limit
from sinr3d.codec.scene import SceneDomain
from sinr3d.errors import CorruptFileError, MeshError
from sinr3d.inr.spec import AnySpec, InrSpec, ModulatedSpec

LONGEST_EXTENT = 0.95
"""Half of the longest side of a shape's box in normalised units; the network reaches a little beyond it."""
PADDING = 0.05
"""A shape's field is trained, and means something, up to this distance around its box, normalised units."""
_CENTER_UNITS = 1 << 34  # a stored center is smaller, in quanta
COLOUR_SPACES = {"srgb": 1, "grey": 2}
MAX_ORIGIN = 200
"""Characters of a prior's origin."""
PROFILES = {"rd": 1, "paper": 2, "coin": 3, "inric": 4, "coinpp": 5, "shacira": 6}


@dataclass(frozen=True)
class ImageDomain:
    """The pixels that an image field is sampled at.

    Attributes:
        width: pixels.
        height: pixels.
        channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        bits: of a sample, 8 or 16.
        colour_space: "srgb" or "grey".
    """

    kind: ClassVar[str] = "image"
    width: int
    height: int
    channels: int
    bits: int = 8
    colour_space: str = "srgb"

    def check_network(self, spec: AnySpec) -> None:
        """Refuses a network that is not (x, y) -> channels, and patches that are not those of the image."""
        network = spec.base if isinstance(spec, ModulatedSpec) else spec
        if not _maps(network, 2, self.channels):
            raise CorruptFileError(f"{_what_it_maps(network)}; {self} needs 2 to {self.channels}")
        if isinstance(spec, ModulatedSpec):
            side = spec.patch
            due = (-(-self.height // side), -(-self.width // side)) if side else (1, 1)
            if (spec.rows, spec.columns) != due:
                raise CorruptFileError(
                    f"{spec.rows} x {spec.columns} patches of {side or 'all'} pixels are not those of "
                    f"{self}; {due[0]} x {due[1]} are due"
                )

    def pack(self) -> bytes:
        """The section DOMAIN of an image."""
        out = pack_varint(self.width) + pack_varint(self.height)
        return out + bytes([self.channels, self.bits, COLOUR_SPACES[self.colour_space]])

    @staticmethod
    def unpack(reader: Reader) -> "ImageDomain":
        """Reads what `pack` wrote."""
        width, height = reader.varint(), reader.varint()
        channels, bits, colour_space = reader.unpack("BBB")
        check_limit("image width", width, 1, 1 << 16)
        check_limit("image height", height, 1, 1 << 16)
        check_limit("image pixels", width * height, 1, 1 << 26)
        check_limit("image channels", channels, 1, 4)
        if bits not in (8, 16):
            raise CorruptFileError(f"image samples have {bits} bits; the format allows 8 and 16")
        return ImageDomain(
            width, height, channels, bits, name_of(COLOUR_SPACES, colour_space, "colour space")
        )


@dataclass(frozen=True)
class OccupancyDomain:
    """Where a shape stands in the world: world = center + scale * coords.

    Attributes:
        center: near the centre of the bounding box, original units; rounded by `round_center` to be short.
        scale: original units a normalised unit, > 0; float32-exact.
        extent: half sizes of the bounding box in normalised units, the longest about 0.95; float32-exact.
        iso: raw output at the surface; larger is inside; float32-exact.
        units: name of the original unit, "" if unknown.
    """

    kind: ClassVar[str] = "occupancy"
    center: tuple[float, float, float]
    scale: float
    extent: tuple[float, float, float]
    iso: float = 0.0
    units: str = ""

    def __post_init__(self) -> None:
        """Rounds every number to what a file can hold."""
        scale = float32(self.scale)
        x, y, z = (round_center(value, scale) for value in self.center)
        a, b, c = (float32(value) for value in self.extent)
        for name, value in (("scale", scale), ("center", (x, y, z)), ("extent", (a, b, c))):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "iso", float32(self.iso))

    @staticmethod
    def around(bounds: Any, units: str = "") -> "OccupancyDomain":
        """The domain of a shape with bounds (2, 3): lowest and highest corner, original units."""
        low, high = ([float(value) for value in corner] for corner in bounds)
        scale = float32(max(b - a for a, b in zip(low, high, strict=True)) / 2 / LONGEST_EXTENT)
        center = [round_center((a + b) / 2, scale) for a, b in zip(low, high, strict=True)]
        a, b, c = (max(b - m, m - a) / scale for a, m, b in zip(low, center, high, strict=True))
        return OccupancyDomain((center[0], center[1], center[2]), scale, (a, b, c), units=units)

    def to_coords(self, points: Any) -> Any:
        """World points (N, 3), a float64 array, in normalised coordinates."""
        return (points - self.center) / self.scale

    def to_world(self, coords: Any) -> Any:
        """Normalised coordinates (N, 3), a float64 array, as world points."""
        return coords * self.scale + self.center

    def covers(self, coords: Any) -> Any:
        """Whether the field means anything at normalised coordinates, an array (..., 3): bool (...).

        It does in the bounding box and up to PADDING beyond; further off it counts as outside.
        """
        return (abs(coords) - self.extent <= PADDING).all(-1)

    def check_network(self, spec: AnySpec) -> None:
        """Refuses a network that is not (x, y, z) -> one value."""
        if not _maps(spec, 3, 1):
            raise CorruptFileError(f"{_what_it_maps(spec)}; a shape needs 3 to 1")

    def pack(self) -> bytes:
        """The section DOMAIN of a shape."""
        quantum = center_quantum(self.scale)
        center = b"".join(pack_signed(round(value / quantum)) for value in self.center)
        return struct.pack("<f3ff", self.scale, *self.extent, self.iso) + center + pack_text(self.units)

    @staticmethod
    def unpack(reader: Reader) -> "OccupancyDomain":
        """Reads what `pack` wrote."""
        scale, ex, ey, ez, iso = reader.unpack("f3ff")
        if not (1e-30 < scale < 1e30 and all(0 < e <= 1 for e in (ex, ey, ez)) and abs(iso) < 1e30):
            raise CorruptFileError(f"the domain of the shape makes no sense: {(scale, ex, ey, ez, iso)}")
        units = [reader.signed() for _ in range(3)]
        if any(abs(value) >= _CENTER_UNITS for value in units):
            raise CorruptFileError(
                f"the centre of the shape is {units} units; the format allows less than 2^34"
            )
        cx, cy, cz = (value * center_quantum(scale) for value in units)
        return OccupancyDomain((cx, cy, cz), scale, (ex, ey, ez), iso, reader.text())


def _maps(spec: AnySpec, in_features: int, out_features: int) -> bool:
    return isinstance(spec, InrSpec) and (spec.in_features, spec.out_features) == (in_features, out_features)


def _what_it_maps(spec: AnySpec) -> str:
    if isinstance(spec, InrSpec):
        return f"the network maps {spec.in_features} to {spec.out_features} values"
    if isinstance(spec, ModulatedSpec):
        return "the file holds the latents of an image"
    return f"the file holds the {len(spec.networks)} networks of a scene"


def center_quantum(scale: float) -> float:
    """The unit of a stored center: the power of two in (scale / 256, scale / 128]."""
    return math.ldexp(1.0, math.frexp(scale)[1] - 8)


def round_center(center: float, scale: float) -> float:
    """The nearest center that a file can hold: within scale / 256, so that the shape still fits its box.

    Raises:
        MeshError: it lies more than 2^26 scales from the origin.
    """
    units = round(center / center_quantum(scale))
    if abs(units) >= _CENTER_UNITS:
        raise MeshError(f"a shape at {center} with a size of {scale} is too far from the origin; move it")
    return units * center_quantum(scale)


Domain = ImageDomain | OccupancyDomain | SceneDomain
_DOMAINS = {1: ImageDomain, 2: OccupancyDomain, 3: SceneDomain}


def pack_domain(domain: Domain) -> bytes:
    """The section DOMAIN: the id of the kind, then the fields of the kind."""
    number = next(number for number, kind in _DOMAINS.items() if isinstance(domain, kind))
    return bytes([number]) + domain.pack()


def unpack_domain(data: bytes) -> Domain:
    """Reads the section DOMAIN."""
    reader = Reader(data, "the section DOMAIN")
    (number,) = reader.unpack("B")
    if number not in _DOMAINS:
        raise CorruptFileError(f"kind {number} is unknown; this reader knows {sorted(_DOMAINS)}")
    domain = _DOMAINS[number].unpack(reader)
    reader.finish()
    return domain


@dataclass(frozen=True)
class PriorRef:
    """The prior that a file needs to be decoded (`codec/prior.py`).

    Attributes:
        id: 16 hexadecimal digits: the first 8 bytes of the SHA-256 of the prior's file.
        origin: the command that makes it; printable ASCII, at most 200 characters.
    """

    id: str
    origin: str

    @property
    def file_name(self) -> str:
        """The name of the prior's file."""
        return f"{self.id}.prior"

    def pack(self) -> bytes:
        """The section PRIOR."""
        check_origin(self.origin)
        return bytes.fromhex(self.id) + self.origin.encode("ascii")

    @staticmethod
    def unpack(data: bytes) -> "PriorRef":
        """Reads what `pack` wrote."""
        reader = Reader(data, "the section PRIOR")
        number = reader.take(8).hex()
        origin = reader.take(len(data) - reader.position).decode("latin-1")
        check_origin(origin)
        return PriorRef(number, origin)


def check_origin(origin: str) -> None:
    """Refuses an origin that a terminal should not print: it comes from a file and is shown to a person."""
    if len(origin) > MAX_ORIGIN or not all(" " <= character <= "~" for character in origin):
        raise CorruptFileError(
            f"the origin of the prior is {origin[:MAX_ORIGIN]!r}; the format allows {MAX_ORIGIN} characters "
            "of printable ASCII"
        )


@dataclass(frozen=True)
class Record:
    """How a file was made and how good it was when it was made. Never needed to decode.

    Attributes:
        profile: one of PROFILES.
        effort: 1 to 9.
        seed: of the fit.
        steps: optimizer steps taken.
        score: measured at encode time on the decoded weights, in the metric of the kind (dB, or IoU).
        writer: version of the encoder, three numbers.
    """

    profile: str
    effort: int
    seed: int
    steps: int
    score: float
    writer: tuple[int, int, int]

    def pack(self) -> bytes:
        """The optional section RECORD."""
        out = bytes([PROFILES[self.profile], self.effort]) + pack_varint(self.seed) + pack_varint(self.steps)
        return out + struct.pack("<f", self.score) + bytes(self.writer)

    @staticmethod
    def unpack(data: bytes) -> "Record":
        """Reads what `pack` wrote."""
        reader = Reader(data, "the section RECORD")
        profile, effort = reader.unpack("BB")
        seed, steps = reader.varint(), reader.varint()
        (score,) = reader.unpack("f")
        major, minor, patch = reader.unpack("BBB")
        reader.finish()
        check_limit("the effort", effort, 1, 9)
        if math.isnan(score):
            raise CorruptFileError("the score of the record is not a number")
        return Record(
            name_of(PROFILES, profile, "profile"), effort, seed, steps, score, (major, minor, patch)
        )
