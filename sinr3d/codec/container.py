"""The file: a magic, the format version, the features a reader must have, and checksummed sections."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from sinr3d.codec.fields import Reader, pack_varint
from sinr3d.errors import (
    ChecksumError,
    CorruptFileError,
    NotSinrError,
    TruncatedFileError,
    UnsupportedFeatureError,
    UnsupportedVersionError,
)

MAGIC = b"\x89SNR"
VERSION = 1

NETWORK, DOMAIN, TENSORS, VALUES, SUPPORTS, TABLES, PRIOR_REF = 1, 2, 3, 4, 5, 6, 7
RECORD, GRID = 128, 129
SECTION_NAMES = {
    NETWORK: "NETWORK",
    DOMAIN: "DOMAIN",
    TENSORS: "TENSORS",
    VALUES: "VALUES",
    SUPPORTS: "SUPPORTS",
    TABLES: "TABLES",
    PRIOR_REF: "PRIOR",
    RECORD: "RECORD",
    GRID: "GRID",
}
OPTIONAL = 128  # tags from here on may be skipped by a reader that does not know them
MAX_REFINEMENTS = 8
SCENE = 1
"""Feature bit 0: NETWORK holds the networks of a scene."""
ONE_CHECKSUM = 2
"""Feature bit 1: one checksum ends the file; sections have none of their own."""
PROGRESSIVE = 4
"""Feature bit 2, only with bit 1: refinements follow the checksum, and the file may end before any."""
PRIOR = 8
"""Feature bit 3: the tensors add to those of a prior, which the section PRIOR names."""
GRID_NETWORK = 16
"""Feature bit 4: NETWORK holds a single network with a feature grid."""
MODULATED = 32
"""Feature bit 5, only with bit 3: NETWORK holds the sizes of latents, which modulate a prior's network."""
FEATURES = {
    0: "scene",
    1: "one checksum",
    2: "progressive",
    3: "prior",
    4: "network with a feature grid",
    5: "modulated",
}
"""Features that a file can require, by bit. An unknown bit is refused by its number."""


@dataclass(frozen=True)
class Section:
    """One section of a file.

    Attributes:
        tag: what it is; below OPTIONAL every reader must know it.
        payload: its bytes.
        num_bytes: its whole length in the file, with tag, length and checksum, if it has one.
    """

    tag: int
    payload: bytes
    num_bytes: int

    @property
    def name(self) -> str:
        """The name in FORMAT.md, or the number of an unknown optional section."""
        return SECTION_NAMES.get(self.tag, f"optional {self.tag}")


@dataclass(frozen=True)
class Refinements:
    """The refinements of a progressive file.

    Attributes:
        sizes: bytes of each one's payload, as the file states them.
        present: payloads of those that the file holds whole; fewer if it is cut short.
    """

    sizes: tuple[int, ...]
    present: tuple[bytes, ...]

    @property
    def are_whole(self) -> bool:
        """Whether all are there."""
        return len(self.present) == len(self.sizes)

    @property
    def missing_bytes(self) -> int:
        """Bytes of those that are not there whole."""
        return sum(size + 4 for size in self.sizes[len(self.present) :])

    @property
    def warning(self) -> str:
        """What a user has to know of a file that is cut short."""
        layers = f"{len(self.present) + 1} of {len(self.sizes) + 1} layers"
        return f"{layers} are there, the file is cut short: coarser than it was meant to be"


@dataclass(frozen=True)
class Container:
    """What a file consists of.

    Attributes:
        features: bits of FEATURES that a reader must have.
        sections: by tag, in ascending order.
        refinements: of a progressive file, else None.
    """

    features: int
    sections: dict[int, Section]
    refinements: Refinements | None = None

    @property
    def payloads(self) -> dict[int, bytes]:
        """The payloads by tag."""
        return {tag: section.payload for tag, section in self.sections.items()}


def pack_container(payloads: dict[int, bytes], features: int = 0, refinements: Sequence[bytes] = ()) -> bytes:
    """The whole file from the payloads of its sections, in ascending order of their tags.

    Args:
        payloads: by tag.
        features: bits of FEATURES; with PROGRESSIVE goes ONE_CHECKSUM.
        refinements: of a progressive file, 1 to MAX_REFINEMENTS.
    """
    out = bytearray(MAGIC + bytes([VERSION]) + pack_varint(features) + bytes([len(payloads)]))
    if features & PROGRESSIVE:
        out += bytes([len(refinements)]) + b"".join(pack_varint(len(data)) for data in refinements)
    for tag in sorted(payloads):
        body = bytes([tag]) + pack_varint(len(payloads[tag])) + payloads[tag]
        out += body if features & ONE_CHECKSUM else body + _checksum(body)
    if features & ONE_CHECKSUM:
        out += _checksum(out)
    for data in refinements if features & PROGRESSIVE else ():
        out += data
        out += _checksum(out)
    return bytes(out)


def _checksum(data: bytes | bytearray) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def unpack_container(data: bytes) -> Container:
    """Reads and checks the sections of a file; one that is progressive may end early, behind them.

    Raises:
        NotSinrError, UnsupportedVersionError, UnsupportedFeatureError, TruncatedFileError, ChecksumError,
        CorruptFileError: what is wrong with the file.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise NotSinrError("this is not a .sinr file: it does not begin with the magic bytes 89 53 4E 52")
    reader = Reader(data, "the file")
    features = _read_features(reader)
    whole = bool(features & ONE_CHECKSUM)
    num_sections = reader.take(1)[0]
    sizes = _read_sizes(reader) if features & PROGRESSIVE else None
    sections = [_read_section(reader, sealed=not whole) for _ in range(num_sections)]
    if whole:
        _check(reader, 0, "the file")
    refinements = None if sizes is None else _read_refinements(reader, sizes)
    if refinements is None or refinements.are_whole:
        reader.finish()
    tags = [section.tag for section in sections]
    for tag in tags:
        if tag < OPTIONAL and tag not in SECTION_NAMES:
            raise UnsupportedFeatureError(
                f"the file has a section {tag}, unknown to this sinr3d; upgrade sinr3d"
            )
    if tags != sorted(set(tags)):
        raise CorruptFileError(f"the sections {tags} are not in ascending order")
    return Container(features, {section.tag: section for section in sections}, refinements)


def _read_features(reader: Reader) -> int:
    """The head of the file up to its features."""
    reader.take(len(MAGIC))
    version = reader.take(1)[0]
    if version != VERSION:
        raise UnsupportedVersionError(
            f"the file has format version {version}, this sinr3d reads version {VERSION}; upgrade sinr3d"
        )
    features = reader.varint()
    unknown = [bit for bit in range(features.bit_length()) if features >> bit & 1 and bit not in FEATURES]
    if unknown:
        raise UnsupportedFeatureError(
            f"the file requires feature bits {unknown}, which this sinr3d does not have; upgrade sinr3d"
        )
    if features & PROGRESSIVE and not features & ONE_CHECKSUM:
        raise CorruptFileError("the file is said to be progressive without one checksum for its sections")
    return features


def _read_sizes(reader: Reader) -> tuple[int, ...]:
    """The bytes of the refinements."""
    count = reader.take(1)[0]
    if not 1 <= count <= MAX_REFINEMENTS:
        raise CorruptFileError(f"a progressive file has 1 to {MAX_REFINEMENTS} refinements, not {count}")
    return tuple(reader.varint() for _ in range(count))


def _read_refinements(reader: Reader, sizes: tuple[int, ...]) -> Refinements:
    """The refinements that are there whole, each with the checksum of all bytes before it."""
    present = []
    for number, size in enumerate(sizes, start=1):
        if size + 4 > len(reader.data) - reader.position:
            break
        present.append(reader.take(size))
        _check(reader, 0, f"refinement {number}")
    return Refinements(sizes, tuple(present))


def _read_section(reader: Reader, *, sealed: bool) -> Section:
    start = reader.position
    tag = reader.take(1)[0]
    name = f"section {SECTION_NAMES.get(tag, tag)}"
    length = reader.varint()
    if length > len(reader.data) - reader.position:
        raise TruncatedFileError(
            f"the {name} claims {length} bytes, {len(reader.data) - reader.position} are left; "
            "the file is cut short"
        )
    payload = reader.take(length)
    if sealed:
        _check(reader, start, name)
    return Section(tag, payload, reader.position - start)


def _check(reader: Reader, start: int, what: str) -> None:
    """Reads the checksum of all that was read since `start`."""
    body = reader.data[start : reader.position]
    if reader.take(4) != _checksum(body):
        raise ChecksumError(f"the checksum of {what} is wrong: the file is damaged")
