"""The file: a magic, the format version, the features a reader must have, and checksummed sections."""

import zlib
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

NETWORK, DOMAIN, TENSORS, VALUES, SUPPORTS, TABLES, RECORD, GRID = 1, 2, 3, 4, 5, 6, 128, 129
SECTION_NAMES = {
    NETWORK: "NETWORK",
    DOMAIN: "DOMAIN",
    TENSORS: "TENSORS",
    VALUES: "VALUES",
    SUPPORTS: "SUPPORTS",
    TABLES: "TABLES",
    RECORD: "RECORD",
    GRID: "GRID",
}
OPTIONAL = 128  # tags from here on may be skipped by a reader that does not know them
SCENE = 1
"""Feature bit 0: NETWORK holds the networks of a scene."""
ONE_CHECKSUM = 2
"""Feature bit 1: one checksum ends the file; sections have none of their own."""
FEATURES = {0: "scene", 1: "one checksum"}
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
class Container:
    """What a file consists of.

    Attributes:
        features: bits of FEATURES that a reader must have.
        sections: by tag, in ascending order.
    """

    features: int
    sections: dict[int, Section]

    @property
    def payloads(self) -> dict[int, bytes]:
        """The payloads by tag."""
        return {tag: section.payload for tag, section in self.sections.items()}


def pack_container(payloads: dict[int, bytes], features: int = 0) -> bytes:
    """The whole file from the payloads of its sections, in ascending order of their tags."""
    out = bytearray(MAGIC + bytes([VERSION]) + pack_varint(features) + bytes([len(payloads)]))
    for tag in sorted(payloads):
        body = bytes([tag]) + pack_varint(len(payloads[tag])) + payloads[tag]
        out += body if features & ONE_CHECKSUM else body + _checksum(body)
    data = bytes(out)
    return data + _checksum(data) if features & ONE_CHECKSUM else data


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(4, "little")


def unpack_container(data: bytes) -> Container:
    """Reads and checks the sections of a file.

    Raises:
        NotSinrError, UnsupportedVersionError, UnsupportedFeatureError, TruncatedFileError, ChecksumError,
        CorruptFileError: what is wrong with the file.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)] or not data:
        raise NotSinrError("this is not a .sinr file: it does not begin with the magic bytes 89 53 4E 52")
    reader = Reader(data, "the file")
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
    whole = bool(features & ONE_CHECKSUM)
    sections = [_read_section(reader, sealed=not whole) for _ in range(reader.take(1)[0])]
    if whole:
        _check(reader, 0, "the file")
    reader.finish()
    tags = [section.tag for section in sections]
    for tag in tags:
        if tag < OPTIONAL and tag not in SECTION_NAMES:
            raise UnsupportedFeatureError(
                f"the file has a section {tag}, unknown to this sinr3d; upgrade sinr3d"
            )
    if tags != sorted(set(tags)):
        raise CorruptFileError(f"the sections {tags} are not in ascending order")
    return Container(features, {section.tag: section for section in sections})


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
