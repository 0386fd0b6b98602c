"""The container: its bytes, and everything that it refuses."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_files import FILES

from sinr3d.codec import container
from sinr3d.codec.container import pack_container, unpack_container
from sinr3d.codec.pipeline import decompress
from sinr3d.errors import (
    ChecksumError,
    CorruptFileError,
    NotSinrError,
    SinrError,
    TruncatedFileError,
    UnsupportedFeatureError,
    UnsupportedVersionError,
)

TAGS = st.sampled_from(list(container.SECTION_NAMES)) | st.integers(128, 255)


def section(tag: int, payload: bytes, length: bytes | None = None) -> bytes:
    """A sealed section; with `length` a false one."""
    body = bytes([tag]) + (bytes([len(payload)]) if length is None else length) + payload
    return body + struct.pack("<I", zlib.crc32(body))


def file(*sections: bytes, version: int = 1, features: bytes = b"\0") -> bytes:
    """A file of these sections."""
    return b"\x89SNR" + bytes([version]) + features + bytes([len(sections)]) + b"".join(sections)


@given(st.dictionaries(TAGS, st.binary(max_size=300)))
def test_round_trip(payloads: dict[int, bytes]) -> None:
    data = pack_container(payloads)
    file = unpack_container(data)
    assert file.payloads == payloads
    assert list(file.sections) == sorted(payloads)
    assert len(data) == 7 + sum(part.num_bytes for part in file.sections.values())


def test_exact_bytes() -> None:
    data = pack_container({128: b"", 1: b"ab"})
    assert data == file(section(1, b"ab"), section(128, b""))
    assert data.hex() == "89534e5201000201026162853626458000b48a5a7a"


@given(st.dictionaries(TAGS, st.binary(max_size=300)))
def test_round_trip_with_one_checksum(payloads: dict[int, bytes]) -> None:
    data = pack_container(payloads, container.ONE_CHECKSUM)
    assert unpack_container(data).payloads == payloads
    assert len(data) == len(pack_container(payloads)) + 4 - 4 * len(payloads)


def test_exact_bytes_with_one_checksum() -> None:
    data = pack_container({128: b"", 1: b"ab"}, container.ONE_CHECKSUM)
    body = bytes.fromhex("89534e52010202" + "01026162" + "8000")
    assert data == body + struct.pack("<I", zlib.crc32(body))


REFINED = container.ONE_CHECKSUM | container.PROGRESSIVE


@given(
    st.dictionaries(TAGS, st.binary(max_size=30), max_size=4),
    st.lists(st.binary(max_size=200), min_size=1, max_size=8),
)
def test_round_trip_with_refinements(payloads: dict[int, bytes], refinements: list[bytes]) -> None:
    data = pack_container(payloads, REFINED, refinements)
    file = unpack_container(data)
    assert file.payloads == payloads
    assert file.refinements is not None
    assert file.refinements.present == tuple(refinements)
    assert file.refinements.are_whole
    assert file.refinements.missing_bytes == 0


def test_exact_bytes_with_refinements() -> None:
    data = pack_container({1: b"ab"}, REFINED, [b"cde", b""])
    body = bytes.fromhex("89534e52010601" + "020300" + "01026162")
    for part in (b"", b"cde", b""):
        body += part
        body += struct.pack("<I", zlib.crc32(body))
    assert data == body


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=8))
def test_a_file_with_refinements_may_end_early(refinements: list[bytes]) -> None:
    data = pack_container({1: b"ab", 200: b"c"}, REFINED, refinements)
    base = len(data) - sum(len(part) + 4 for part in refinements)
    for length in range(1, base):
        _refused(data[:length], TruncatedFileError, "due at|cut short")
    at = base
    for count, part in enumerate(refinements):
        for length in range(at, at + len(part) + 4):
            found = unpack_container(data[:length]).refinements
            assert found is not None
            assert found.present == tuple(refinements[:count])
            assert found.missing_bytes == len(data) - at
            assert f"{count + 1} of {len(refinements) + 1} layers" in found.warning
        at += len(part) + 4
    _refused(data + b"x", CorruptFileError, "1 bytes too many")


def test_every_bit_flip_in_a_file_with_refinements_is_noticed() -> None:
    data = pack_container({1: b"ab", 200: b"c"}, REFINED, [b"cde", b"fg"])
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SinrError):
            unpack_container(bytes(flipped))


@pytest.mark.parametrize("features", [4, 5])
def test_refinements_without_one_checksum_are_refused(features: int) -> None:
    _refused(file(section(1, b""), features=bytes([features])), CorruptFileError, "without one checksum")


@pytest.mark.parametrize("count", [0, 9, 255])
def test_a_wrong_number_of_refinements(count: int) -> None:
    data = b"\x89SNR\1\6\0" + bytes([count]) + bytes(count)
    _refused(data + struct.pack("<I", zlib.crc32(data)), CorruptFileError, f"1 to 8 refinements, not {count}")


def _refused(data: bytes, error: type[SinrError], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        unpack_container(data)
    assert type(caught.value) is error


@pytest.mark.parametrize("data", [b"", b"\x88", b"\x89SNS", b"PK\3\4", b"hello world", b"\x89PNG\r\n\x1a\n"])
def test_no_magic(data: bytes) -> None:
    _refused(data, NotSinrError, "does not begin with the magic")


@pytest.mark.parametrize("index", [3, 13])
def test_every_truncation(index: int) -> None:
    data = FILES[index].data()
    for length in range(1, len(data)):
        _refused(data[:length], TruncatedFileError, "due at|cut short")


def test_trailing_bytes() -> None:
    data = FILES[0].data()
    for extra in (b"\0", b"abc", section(255, b"")):
        _refused(data + extra, CorruptFileError, f"{len(extra)} bytes too many")


@pytest.mark.parametrize("version", [0, 2, 255])
def test_unknown_version(version: int) -> None:
    _refused(file(section(1, b""), version=version), UnsupportedVersionError, f"format version {version}")


@pytest.mark.parametrize(
    ("features", "bits"), [(b"\x40", "[6]"), (b"\xc7\x01", "[6, 7]"), (b"\x80\x80\x80\x80\x40", "[34]")]
)
def test_unknown_features(features: bytes, bits: str) -> None:
    with pytest.raises(UnsupportedFeatureError) as caught:
        unpack_container(file(section(1, b""), features=features))
    assert f"feature bits {bits}" in str(caught.value)


@pytest.mark.parametrize("tag", [0, 8, 127])
def test_unknown_required_section(tag: int) -> None:
    _refused(file(section(tag, b"x")), UnsupportedFeatureError, f"a section {tag}, unknown")


def test_an_unknown_optional_section_is_skipped() -> None:
    known = FILES[3]
    payloads = unpack_container(known.data()).payloads
    for tag in (130, 255):
        data = pack_container(payloads | {tag: b"from the future"})
        contents = decompress(data)
        assert contents.record == known.record
        assert unpack_container(data).sections[tag].name == f"optional {tag}"


def test_wrong_checksum() -> None:
    for tag in (1, 200):
        data = bytearray(file(section(tag, b"payload")))
        data[-1] ^= 1
        _refused(bytes(data), ChecksumError, "the checksum of section")


def test_wrong_checksum_of_the_file() -> None:
    data = bytearray(pack_container({1: b"payload", 200: b""}, container.ONE_CHECKSUM))
    for place in range(8, len(data)):
        if place not in (8, 17, 16):  # lengths
            damaged = bytearray(data)
            damaged[place] ^= 1
            _refused(bytes(damaged), ChecksumError, "the checksum of the file")
    _refused(bytes(data) + b"x", CorruptFileError, "1 bytes too many")


@pytest.mark.parametrize("tags", [(2, 1), (1, 1), (1, 2, 2), (128, 5), (200, 200)])
def test_sections_out_of_order_or_twice(tags: tuple[int, ...]) -> None:
    _refused(file(*(section(tag, b"") for tag in tags)), CorruptFileError, "not in ascending order")


@pytest.mark.parametrize("length", [b"\x03", b"\xff\xff\x03", b"\xff\xff\xff\xff\x7f"])
def test_a_section_longer_than_the_file(length: bytes) -> None:
    _refused(file(section(1, b"", length)[:-4]), TruncatedFileError, "the file is cut short")


@pytest.mark.parametrize("length", [b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\x82\x00"])
def test_a_length_of_ten_bytes_or_not_in_shortest_form(length: bytes) -> None:
    _refused(file(section(1, b"ab", length)), CorruptFileError, "an integer")


@pytest.mark.parametrize("tag", [1, 2, 3, 4, 5])
def test_a_missing_section(tag: int) -> None:
    payloads = unpack_container(FILES[4].data()).payloads
    del payloads[tag]
    with pytest.raises(CorruptFileError):
        decompress(pack_container(payloads))


@pytest.mark.parametrize("index", [0, 1, 3, 4, 7, 13, 14, 17])
def test_every_bit_flip_is_noticed(index: int) -> None:
    data = FILES[index].data()
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SinrError) as caught:
            decompress(bytes(flipped))
        assert str(caught.value)
        assert caught.value.exit_code in (3, 4)
