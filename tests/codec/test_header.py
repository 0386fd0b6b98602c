"""Varints, the network, the domains and the record: round trips, limits and refusals."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_files import IMAGE, RECORD, SHAPE

from sinr3d.codec import fields, header, network
from sinr3d.codec.fields import Reader
from sinr3d.codec.header import PROFILES, ImageDomain, OccupancyDomain, Record
from sinr3d.errors import CorruptFileError, LimitError, MeshError, TruncatedFileError
from sinr3d.inr.spec import ACTIVATION_IDS, InrSpec, default_spec

FLOATS = st.floats(2.0**-20, 2.0**20, width=32)
VARINTS = st.integers(0, 2**35 - 1)


@given(VARINTS)
def test_varint_round_trip(value: int) -> None:
    data = fields.pack_varint(value)
    reader = Reader(data, "test")
    assert reader.varint() == value
    reader.finish()
    assert len(data) == max(1, -(-value.bit_length() // 7))


@given(st.integers(-(2**34), 2**34 - 1))
def test_signed_round_trip(value: int) -> None:
    assert Reader(fields.pack_signed(value), "test").signed() == value


@pytest.mark.parametrize(
    ("value", "data"),
    [(0, "00"), (127, "7f"), (128, "8001"), (2**35 - 1, "ffffffff7f"), (300, "ac02")],
)
def test_varint_bytes(value: int, data: str) -> None:
    assert fields.pack_varint(value).hex() == data


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ("", TruncatedFileError),
        ("80", TruncatedFileError),
        ("8000", CorruptFileError),
        ("ff00", CorruptFileError),
        ("8080808080", CorruptFileError),
        ("ffffffffffffffffff01", CorruptFileError),
    ],
)
def test_varint_refuses(data: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        Reader(bytes.fromhex(data), "test").varint()
    assert type(caught.value) is error


SPECS = st.builds(
    InrSpec,
    in_features=st.integers(1, 255),
    out_features=st.integers(1, 255),
    width=st.integers(1, 4096),
    hidden_layers=st.integers(0, 64),
    activation=st.sampled_from(["sine", "gauss", "relu"]),
    first_omega=FLOATS,
    hidden_omega=FLOATS,
    frequencies=st.integers(0, 32),
) | st.builds(
    InrSpec,
    in_features=st.just(2),
    out_features=st.just(3),
    width=st.integers(1, 4096),
    hidden_layers=st.integers(0, 64),
    activation=st.just("wire"),
    first_omega=FLOATS,
    hidden_omega=FLOATS,
    sigma=st.floats(0, 2.0**20, width=32),
)


@given(SPECS)
def test_spec_round_trip(spec: InrSpec) -> None:
    assert network.unpack_spec(network.pack_spec(spec)) == spec


@pytest.mark.parametrize("activation", ACTIVATION_IDS)
def test_spec_of_every_activation(activation: str) -> None:
    spec = default_spec(3, 1, 64, 3, activation)
    data = network.pack_spec(spec)
    assert network.unpack_spec(data) == spec
    assert len(data) == (18 if activation == "wire" else 14)


@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        (0, b"\0", LimitError),
        (1, b"\0", LimitError),
        (2, b"\0", CorruptFileError),
        (2, b"\x05", CorruptFileError),
        (3, b"\x21", LimitError),
        (4, b"\0", LimitError),
        (5, b"\x41", LimitError),
        (6, struct.pack("<f", 0.0), CorruptFileError),
        (6, struct.pack("<f", math.nan), CorruptFileError),
        (6, struct.pack("<f", math.inf), CorruptFileError),
        (10, struct.pack("<f", -1.0), CorruptFileError),
        (10, struct.pack("<f", 2.0**21), CorruptFileError),
    ],
)
def test_spec_refuses(at: int, value: bytes, error: type[Exception]) -> None:
    data = bytearray(network.pack_spec(default_spec(2, 3, 16)))
    data[at : at + len(value)] = value
    with pytest.raises(error) as caught:
        network.unpack_spec(bytes(data))
    assert type(caught.value) is error


def test_a_network_of_4097_neurons_is_refused() -> None:
    spec = InrSpec(2, 3, 4097, 1)
    with pytest.raises(LimitError, match="width is 4097; the format allows 1 to 4096"):
        network.unpack_spec(network.pack_spec(spec))


IMAGES = st.builds(
    ImageDomain,
    width=st.integers(1, 1 << 13),
    height=st.integers(1, 1 << 13),
    channels=st.integers(1, 4),
    bits=st.sampled_from([8, 16]),
    colour_space=st.sampled_from(["srgb", "grey"]),
)
COORDS = st.floats(-1e6, 1e6)
EXTENTS = st.floats(2.0**-20, 1, width=32)
SHAPES = st.builds(
    OccupancyDomain,
    center=st.tuples(COORDS, COORDS, COORDS),
    scale=st.floats(0.125, 2.0**60, width=32),
    extent=st.tuples(EXTENTS, EXTENTS, EXTENTS),
    iso=st.floats(-(2.0**60), 2.0**60, width=32),
    units=st.text(max_size=40),
)


@given(IMAGES | SHAPES)
def test_domain_round_trip(domain: ImageDomain | OccupancyDomain) -> None:
    assert header.unpack_domain(header.pack_domain(domain)) == domain


@pytest.mark.parametrize(
    "domain",
    [
        ImageDomain(1, 1, 1, 8, "grey"),
        ImageDomain(1 << 16, 1 << 10, 4, 16),
        ImageDomain(1 << 10, 1 << 16, 4, 16),
        OccupancyDomain((0, 0, 0), 1.1e-30, (1, 1, 1), -9e29),
        OccupancyDomain(((2**34 - 1) / 128, -(2**34 - 1) / 128, 0), 1.0, (1, 1, 1), 9e29, "x" * 255),
    ],
)
def test_smallest_and_largest_domains(domain: ImageDomain | OccupancyDomain) -> None:
    assert header.unpack_domain(header.pack_domain(domain)) == domain


def test_a_long_name_of_a_unit_is_cut_between_characters() -> None:
    domain = OccupancyDomain((0, 0, 0), 1.0, (1, 1, 1), units="a" + "é" * 200)
    read = header.unpack_domain(header.pack_domain(domain))
    assert isinstance(read, OccupancyDomain)
    assert read.units == "a" + "é" * 127


def test_a_shape_far_from_the_origin_is_refused() -> None:
    with pytest.raises(MeshError, match="too far from the origin"):
        OccupancyDomain((2.0**27, 0, 0), 1.0, (1, 1, 1))


@given(st.floats(2.0**-60, 2.0**60, width=32))
def test_the_quantum_of_a_center(scale: float) -> None:
    quantum = header.center_quantum(scale)
    assert scale / 256 < quantum <= scale / 128
    assert math.frexp(quantum)[0] == 0.5


def _shape(center: tuple[int, int, int] = (0, 0, 0), **changed: float) -> bytes:
    values = {"scale": 1.0, "x": 1.0, "y": 1.0, "z": 1.0, "iso": 0.0} | changed
    return b"\2" + struct.pack("<5f", *values.values()) + b"".join(map(fields.pack_signed, center)) + b"\0"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", TruncatedFileError),
        (b"\4", CorruptFileError),
        (b"\0", CorruptFileError),
        (b"\1" + fields.pack_varint(1 << 16) + fields.pack_varint(1 << 16) + b"\3\x08\1", LimitError),
        (b"\1" + fields.pack_varint((1 << 16) + 1) + b"\1\3\x08\1", LimitError),
        (b"\1\0\1\3\x08\1", LimitError),
        (b"\1\1\0\3\x08\1", LimitError),
        (b"\1\1\1\0\x08\1", LimitError),
        (b"\1\1\1\5\x08\1", LimitError),
        (b"\1\1\1\3\x09\1", CorruptFileError),
        (b"\1\1\1\3\x08\0", CorruptFileError),
        (b"\1\1\1\3\x08\3", CorruptFileError),
        (b"\1\1\1\3\x08\1\0", CorruptFileError),
        (_shape(scale=0.0), CorruptFileError),
        (_shape(scale=-1.0), CorruptFileError),
        (_shape(scale=math.inf), CorruptFileError),
        (_shape(scale=math.nan), CorruptFileError),
        (_shape(x=0.0), CorruptFileError),
        (_shape(y=math.nan), CorruptFileError),
        (_shape(z=1.5), CorruptFileError),
        (_shape(iso=math.nan), CorruptFileError),
        (_shape(iso=math.inf), CorruptFileError),
        (_shape((0, -(2**34), 0)), CorruptFileError),
        (_shape()[:-1] + b"\2a", TruncatedFileError),
        (_shape()[:-1] + b"\1\xff", CorruptFileError),
    ],
)
def test_domain_refuses(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        header.unpack_domain(data)
    assert type(caught.value) is error
    assert str(caught.value)


def test_domains_refuse_networks_of_other_sizes() -> None:
    IMAGE.check_network(InrSpec(2, 3, 4, 1))
    SHAPE.check_network(InrSpec(3, 1, 4, 1))
    for domain, sizes in ((IMAGE, (3, 3)), (IMAGE, (2, 1)), (SHAPE, (2, 1)), (SHAPE, (3, 2))):
        with pytest.raises(CorruptFileError, match="the network maps"):
            domain.check_network(InrSpec(*sizes, 4, 1))


RECORDS = st.builds(
    Record,
    profile=st.sampled_from(sorted(PROFILES)),
    effort=st.integers(1, 9),
    seed=VARINTS,
    steps=VARINTS,
    score=st.floats(width=32, allow_nan=False),
    writer=st.tuples(*[st.integers(0, 255)] * 3),
)


@given(RECORDS)
def test_record_round_trip(record: Record) -> None:
    assert Record.unpack(record.pack()) == record


@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        (0, b"\0", CorruptFileError),
        (0, b"\7", CorruptFileError),
        (1, b"\0", LimitError),
        (1, b"\x0a", LimitError),
        (5, struct.pack("<f", math.nan), CorruptFileError),
    ],
)
def test_record_refuses(at: int, value: bytes, error: type[Exception]) -> None:
    data = bytearray(RECORD.pack())
    data[at : at + len(value)] = value
    with pytest.raises(error) as caught:
        Record.unpack(bytes(data))
    assert type(caught.value) is error


@pytest.mark.parametrize("data", [network.pack_spec(default_spec(2, 3, 16)), RECORD.pack()])
def test_every_truncation_and_an_extra_byte_are_refused(data: bytes) -> None:
    unpack = network.unpack_spec if len(data) == 14 else Record.unpack
    for length in range(len(data)):
        with pytest.raises(TruncatedFileError):
            unpack(data[:length])
    with pytest.raises(CorruptFileError, match="1 bytes too many"):
        unpack(data + b"\0")
