"""The domain of a scene and its networks in a file: round trips, sizes, limits and refusals."""

import math
import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_files import BARE_SCENE, CAMERAS, FILES, SCENE

from sinr3d.codec import header, network, scene
from sinr3d.codec.container import SCENE as SCENE_FEATURE
from sinr3d.codec.container import pack_container, unpack_container
from sinr3d.codec.pipeline import decompress, pack_file
from sinr3d.codec.scene import DefaultCameras, Pose, SceneDomain
from sinr3d.errors import CorruptFileError, LimitError, SinrError, TruncatedFileError
from sinr3d.inr.spec import GridSpec, InrSpec, SceneSpec

FLOATS = st.floats(-(2.0**60), 2.0**60, width=32)
POSITIVE = st.floats(2.0**-60, 2.0**60, width=32)
UNIT = st.floats(0, 1, width=32)
POSES: st.SearchStrategy[Pose] = st.tuples(*[FLOATS] * 12)
CAMERA_SETS = st.builds(
    DefaultCameras,
    width=st.integers(1, 65535),
    height=st.integers(1, 65535),
    focal=st.tuples(POSITIVE, POSITIVE),
    center=st.tuples(FLOATS, FLOATS),
    poses=st.lists(POSES, min_size=1, max_size=4).map(tuple),
)
# Rotations about z with a factor: never singular.
TRANSFORMS = st.builds(
    lambda a, f, x, y, z: (f * math.cos(a), -math.sin(a), 0, x, math.sin(a), math.cos(a), 0, y, 0, 0, f, z),
    st.floats(-3, 3),
    st.floats(0.125, 8),
    *[FLOATS] * 3,
).filter(lambda transform: scene._determinant(transform) != 0)


@st.composite
def domains(draw: st.DrawFn) -> SceneDomain:
    low = draw(st.tuples(*[st.floats(-1000, 1000, width=32)] * 3))
    x, y, z = (value + draw(st.floats(1, 1000, width=32)) for value in low)
    near = draw(st.floats(0, 1000, width=32))
    return SceneDomain(
        box=(*low, x, y, z),
        contraction=draw(st.sampled_from(list(scene.CONTRACTIONS))),
        bounds=draw(st.sampled_from(list(scene.BOUNDS))),
        near=near,
        far=near + draw(st.floats(1, 2.0**60, width=32)),
        spacing=draw(st.sampled_from(list(scene.SPACINGS))),
        samples=tuple(draw(st.lists(st.integers(1, 512), min_size=1, max_size=8))),
        density_scale=draw(POSITIVE),
        direction=draw(st.sampled_from(list(scene.DIRECTIONS))),
        direction_levels=draw(st.integers(0, 4)),
        background=draw(st.sampled_from(list(scene.BACKGROUNDS))),
        color=draw(st.tuples(UNIT, UNIT, UNIT)),
        transform=draw(st.just(scene.IDENTITY) | TRANSFORMS),
        scale=draw(st.just(1.0) | POSITIVE),
        cameras=draw(st.none() | CAMERA_SETS),
    )


@given(domains())
def test_domain_round_trip(domain: SceneDomain) -> None:
    assert header.unpack_domain(header.pack_domain(domain)) == domain


def test_smallest_and_largest_domains() -> None:
    box = (-9e29, -9e29, -9e29, 9e29, 9e29, 9e29)
    cameras = DefaultCameras(65535, 1, (9e29, 1e-30), (-9e29, 9e29), ((9e29,) * 12,) * 32)
    large = SceneDomain(box, near=0, far=9e29, samples=(4096,), direction_levels=4, cameras=cameras)
    for domain in (
        large,
        replace(large, samples=(1,) * 8, direction_levels=0, color=(0, 0, 0), cameras=None),
    ):
        assert header.unpack_domain(header.pack_domain(domain)) == domain


def test_numbers_are_rounded_to_what_a_file_holds() -> None:
    domain = SceneDomain((-0.1, -0.1, -0.1, 0.1, 0.1, 0.1), near=0.3, scale=1 / 3, color=(0.1, 0.2, 0.3))
    assert domain.near == struct.unpack("<f", struct.pack("<f", 0.3))[0]
    assert header.unpack_domain(header.pack_domain(domain)) == domain


def test_what_is_usual_costs_nothing() -> None:
    plain = SceneDomain((-1, -1, -1, 1, 1, 1), samples=(64, 32))
    assert len(header.pack_domain(plain)) == 59
    assert len(header.pack_domain(replace(plain, scale=0.5))) == 59 + 4
    turned = (0, 1, 0, 0, -1, 0, 0, 0, 0, 0, 1, 0)
    three = replace(CAMERAS, poses=CAMERAS.poses[:1] * 3)
    assert len(header.pack_domain(replace(plain, scale=0.5, transform=turned, cameras=three))) < 300


NAN = math.nan
BOX = SCENE.box


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"box": (NAN, *BOX[1:])}, "the box of the scene is"),
        ({"box": (*BOX[:3], *BOX[:3])}, "is empty"),
        ({"box": (*BOX[3:], *BOX[:3])}, "is empty"),
        ({"box": BOX[:5]}, "6 numbers"),
        ({"box": (*BOX[:5], 1e31)}, "6 numbers below 1e30"),
        ({"contraction": "l1"}, "the contraction is 'l1'"),
        ({"bounds": "sphere"}, "the kind of bounds is 'sphere'"),
        ({"spacing": "linear"}, "the spacing is 'linear'"),
        ({"direction": "none"}, "the encoding of directions is 'none'"),
        ({"background": "black"}, "the background is 'black'"),
        ({"near": 6.0}, "from near 6.0 to far 6.0"),
        ({"near": -1.0}, "from near -1.0"),
        ({"far": math.inf}, "far of the scene is"),
        ({"far": NAN}, "far of the scene is"),
        ({"density_scale": 0.0}, "the density scale is 0"),
        ({"scale": 0.0}, "the scale of the scene is 0"),
        ({"scale": -1.0}, "the scale of the scene is -1"),
        ({"color": (0.0, 0.5, 1.5)}, "the background color is"),
        ({"color": (0.0, -0.5, 1.0)}, "the background color is"),
        ({"color": (0.0, NAN, 1.0)}, "the color of the scene is"),
        ({"transform": (1.0,) * 12}, "the transform of the scene is singular"),
        ({"transform": (NAN,) * 12}, "the transform of the scene is"),
        ({"samples": ()}, "the rounds of sampling is 0"),
        ({"samples": (1,) * 9}, "the rounds of sampling is 9"),
        ({"samples": (0, 4)}, "the samples of a round is 0"),
        ({"samples": (4000, 97)}, "the samples of a ray is 4097"),
        ({"direction_levels": 5}, "the levels of spherical harmonics is 5"),
        ({"direction_levels": -1}, "the levels of spherical harmonics is -1"),
    ],
)
def test_domains_that_make_no_sense(changes: dict, match: str) -> None:
    with pytest.raises(CorruptFileError, match=match):
        replace(SCENE, **changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"width": 0}, "the width of the cameras is 0"),
        ({"height": 65536}, "the height of the cameras is 65536"),
        ({"focal": (0.0, 1.0)}, "the focal length of the cameras is"),
        ({"focal": (1.0, NAN)}, "the focal length of the cameras is"),
        ({"center": (math.inf, 1.0)}, "the principal point of the cameras is"),
        ({"poses": ()}, "the number of camera poses is 0"),
        ({"poses": CAMERAS.poses[:1] * 33}, "the number of camera poses is 33"),
        ({"poses": ((1.0,) * 11,)}, "a camera pose is"),
        ({"poses": ((NAN,) * 12,)}, "a camera pose is"),
    ],
)
def test_cameras_that_make_no_sense(changes: dict, match: str) -> None:
    with pytest.raises(CorruptFileError, match=match):
        replace(CAMERAS, **changes)


@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        (1, b"\x08", CorruptFileError),  # an unknown flag
        (1, b"\x83", CorruptFileError),
        (2, b"\3", CorruptFileError),
        (3, b"\2", CorruptFileError),
        (4, b"\2", CorruptFileError),
        (5, b"\0", CorruptFileError),
        (5, b"\3", CorruptFileError),
        (6, b"\5", LimitError),
        (7, b"\2", CorruptFileError),
        (8, struct.pack("<f", 1.5), CorruptFileError),
        (8, struct.pack("<f", NAN), CorruptFileError),
        (32, struct.pack("<f", 7.0), CorruptFileError),
        (40, struct.pack("<f", -1.0), CorruptFileError),
        (56, b"\0", LimitError),
        (56, b"\x09", LimitError),
        (57, b"\0", LimitError),
        (58, b"\xff\x1f", LimitError),
    ],
)
def test_domain_refuses(at: int, value: bytes, error: type[SinrError]) -> None:
    data = bytearray(header.pack_domain(SCENE))
    data[at : at + len(value)] = value
    with pytest.raises(error):
        header.unpack_domain(bytes(data))


@pytest.mark.parametrize("domain", [SCENE, BARE_SCENE])
def test_every_truncation_and_an_extra_byte_are_refused(domain: SceneDomain) -> None:
    data = header.pack_domain(domain)
    for length in range(len(data)):
        with pytest.raises(TruncatedFileError):
            header.unpack_domain(data[:length])
    with pytest.raises(CorruptFileError, match="1 bytes too many"):
        header.unpack_domain(data + b"\0")


# --- Networks ----------------------------------------------------------------------------------------------

SCALES = st.floats(1, 2.0**20, width=32)
GRIDS = st.builds(
    GridSpec,
    scales=st.lists(SCALES, min_size=1, max_size=32).map(tuple),
    features=st.integers(1, 8),
    log2_entries=st.integers(1, 24),
    layout=st.sampled_from(["hashed", "dense"]),
)
NETWORKS = st.builds(
    InrSpec,
    in_features=st.just(3),
    out_features=st.integers(1, 255),
    width=st.integers(1, 4096),
    hidden_layers=st.integers(0, 64),
    activation=st.sampled_from(["sine", "gauss", "relu"]),
    grid=st.none() | GRIDS,
)


def _scene(networks: list[InrSpec]) -> SceneSpec:
    return SceneSpec(tuple((network.role_of(n), spec) for n, spec in enumerate(networks, start=1)))


@given(st.lists(NETWORKS, min_size=2, max_size=9))
def test_networks_round_trip(networks: list[InrSpec]) -> None:
    spec = _scene(networks)
    data = network.pack_spec(spec)
    assert network.unpack_spec(data, features=SCENE_FEATURE) == spec
    assert data[0] == len(networks)


def test_roles() -> None:
    names = ["field", "color", "proposal.0", "proposal.1"]
    assert [network.role_of(number) for number in range(1, 5)] == names


def test_roles_in_another_order_are_not_written() -> None:
    one = InrSpec(3, 4, 4, 1)
    for roles in (("color", "field"), ("field",), ("field", "color", "proposal.1"), ("field", "field")):
        with pytest.raises(CorruptFileError):
            network.pack_spec(SceneSpec(tuple((role, one) for role in roles)))


@pytest.mark.parametrize(
    ("grid", "match"),
    [
        (GridSpec((), 2, 4), "the levels of a feature grid is 0"),
        (GridSpec((2.0,) * 33, 2, 4), "the levels of a feature grid is 33"),
        (GridSpec((2.0,), 0, 4), "the features of a grid's entry is 0"),
        (GridSpec((2.0,), 9, 4), "the features of a grid's entry is 9"),
        (GridSpec((2.0,), 2, 0), "log2 of a level's entries is 0"),
        (GridSpec((2.0,), 2, 25), "log2 of a level's entries is 25"),
        (GridSpec((0.5,), 2, 4), "the scale of a grid level is 0.5"),
        (GridSpec((NAN,), 2, 4), "the scale of a grid level is nan"),
        (GridSpec((2.0**21,), 2, 4), "the scale of a grid level is 2097152"),
    ],
)
def test_grids_that_make_no_sense(grid: GridSpec, match: str) -> None:
    with pytest.raises(CorruptFileError, match=match):
        network.pack_spec(_scene([InrSpec(3, 4, 4, 1, grid=grid), InrSpec(3, 3, 4, 1)]))


@pytest.mark.parametrize(("in_features", "dims", "frequencies"), [(2, 3, 0), (3, 2, 0), (3, 3, 1), (4, 4, 0)])
def test_grids_take_two_or_three_plain_coordinates(in_features: int, dims: int, frequencies: int) -> None:
    grid = GridSpec((2.0,), 2, 4, dims=dims)
    spec = InrSpec(in_features, 4, 4, 1, frequencies=frequencies, grid=grid)
    with pytest.raises(CorruptFileError, match="the format allows 2 or 3"):
        network.pack_spec(spec)


def test_grids_in_a_scene_take_three_coordinates() -> None:
    spec = InrSpec(2, 4, 4, 1, grid=GridSpec((2.0,), 2, 4, dims=2))
    with pytest.raises(CorruptFileError, match="in a scene has 2 inputs"):
        network.pack_spec(_scene([spec, InrSpec(3, 3, 4, 1)]))


@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        (0, b"\0", LimitError),
        (0, b"\1", LimitError),
        (0, b"\x0a", LimitError),
        (0, b"\2", CorruptFileError),  # bytes too many
        (0, b"\4", TruncatedFileError),
        (1, b"\0", CorruptFileError),
        (1, b"\2", CorruptFileError),
        (2, b"\2", CorruptFileError),  # a grid over two coordinates
        (2, b"\0", LimitError),
        (16, b"\x21", LimitError),  # levels
        (17, b"\0", CorruptFileError),  # layout
        (17, b"\3", CorruptFileError),
        (18, b"\x09", LimitError),
        (19, b"\x19", LimitError),
        (20, struct.pack("<f", NAN), CorruptFileError),
    ],
)
def test_networks_refuse(at: int, value: bytes, error: type[SinrError]) -> None:
    data = bytearray(network.pack_spec(FILES[10].spec))
    data[at : at + len(value)] = value
    with pytest.raises(error) as caught:
        network.unpack_spec(bytes(data), features=SCENE_FEATURE)
    assert type(caught.value) is error


def _changed(role: str, **changes: int) -> SceneSpec:
    spec = FILES[10].spec
    assert isinstance(spec, SceneSpec)
    networks = ((name, replace(net, **changes) if name == role else net) for name, net in spec.networks)
    return SceneSpec(tuple(networks))


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        (_changed("field", out_features=5), "the network color maps 7 to 3 values"),
        (_changed("color", in_features=8), "the network color maps 8 to 3 values"),
        (_changed("color", out_features=4), "the network color maps 7 to 4 values"),
        (_changed("proposal.0", out_features=2), "the network proposal.0 maps 3 to 2 values"),
        (InrSpec(3, 1, 4, 1), "a single network"),
        (_scene([InrSpec(3, 4, 4, 1), InrSpec(7, 3, 4, 1)]), "0 proposal networks and 2 rounds"),
        (_scene([InrSpec(2, 4, 4, 1), InrSpec(7, 3, 4, 1), InrSpec(3, 1, 4, 1)]), "field maps 2 to 4"),
    ],
)
def test_networks_that_make_no_scene(spec: SceneSpec | InrSpec, match: str) -> None:
    SCENE.check_network(FILES[10].spec)
    with pytest.raises(CorruptFileError, match=match):
        SCENE.check_network(spec)


def test_files_whose_parts_contradict_each_other() -> None:
    plain, with_tables = (unpack_container(FILES[index].data()) for index in (0, 10))
    for payloads, features in (
        (with_tables.payloads, 0),
        (plain.payloads, SCENE_FEATURE),
        (with_tables.payloads | {2: plain.payloads[2]}, SCENE_FEATURE),
        (plain.payloads | {2: with_tables.payloads[2]}, 0),
        (plain.payloads | {6: with_tables.payloads[6]}, 0),
        (plain.payloads | {129: with_tables.payloads[129]}, 0),
        ({tag: part for tag, part in with_tables.payloads.items() if tag != 6}, SCENE_FEATURE),
    ):
        with pytest.raises(CorruptFileError):
            decompress(pack_container(payloads, features))


def test_what_a_reader_would_refuse_is_not_written() -> None:
    with pytest.raises(CorruptFileError, match="networks of a scene"):
        pack_file(FILES[10].network(), FILES[0].domain, "range")
    with pytest.raises(CorruptFileError, match="a single network"):
        pack_file(FILES[0].network(), SCENE, "range")
    with pytest.raises(CorruptFileError, match="an occupancy grid belongs to a scene"):
        pack_file(FILES[0].network(), FILES[0].domain, "range", grid=FILES[10].grid())
