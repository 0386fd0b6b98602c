"""The section NETWORK: a network, the networks of a scene, or the latents of an image. Needs no numpy."""

import struct

from sinr3d.codec.container import GRID_NETWORK, MODULATED, PRIOR, SCENE
from sinr3d.codec.fields import Reader, name_of, pack_varint
from sinr3d.codec.limits import check_limit
from sinr3d.errors import CorruptFileError
from sinr3d.inr.spec import ACTIVATION_IDS, AnySpec, GridSpec, InrSpec, ModulatedSpec, SceneSpec

LAYOUTS = {"hashed": 1, "dense": 2}
MAX_PROPOSALS = 7
MAX_LATENT_SIZE = 1 << 12
MAX_PATCHES = 1 << 16
"""Patches along an axis of an image, and pixels along a side of a patch."""
_KINDS = SCENE | GRID_NETWORK | MODULATED


def features_of(spec: AnySpec) -> int:
    """The feature bits that say what NETWORK holds."""
    if isinstance(spec, SceneSpec):
        return SCENE
    if isinstance(spec, ModulatedSpec):
        return MODULATED
    return GRID_NETWORK if spec.grid is not None else 0


def pack_spec(spec: AnySpec) -> bytes:
    """The section NETWORK, of a file with the features `features_of(spec)`.

    Raises:
        CorruptFileError, LimitError: a reader would refuse it.
    """
    if isinstance(spec, ModulatedSpec):
        _check_modulated(spec)
        sizes = (spec.latent_size, spec.patch, spec.rows, spec.columns)
        return pack_network(spec.base) + b"".join(pack_varint(size) for size in sizes)
    if isinstance(spec, InrSpec):
        return pack_network(spec) + (pack_grid(spec.grid) if spec.grid is not None else b"")
    _check_roles([role for role, _ in spec.networks])
    networks = b""
    for number, (_, network) in enumerate(spec.networks, start=1):
        _check_in_scene(network)
        networks += bytes([number]) + pack_network(network) + pack_grid(network.grid)
    return bytes([len(spec.networks)]) + networks


def unpack_spec(data: bytes, features: int = 0) -> AnySpec:
    """Reads the section NETWORK and checks every size against the limits.

    Args:
        data: the payload.
        features: of the file.
    """
    kind = features & _KINDS
    if kind not in (0, SCENE, GRID_NETWORK, MODULATED):
        raise CorruptFileError(f"by the features {features:#x} of the file its network is of two kinds")
    if features & PRIOR and kind == SCENE:
        raise CorruptFileError("a scene is said to build on a prior; only single networks do")
    if kind == MODULATED and not features & PRIOR:
        raise CorruptFileError("latents of a modulated network are said to need no prior")
    reader = Reader(data, "the section NETWORK")
    if kind == SCENE:
        spec = _unpack_scene(reader)
    elif kind == MODULATED:
        base = unpack_network(reader, with_grid=False)
        spec = ModulatedSpec(base, *(reader.varint() for _ in range(4)))
        _check_modulated(spec)
    else:
        spec = unpack_network(reader, with_grid=kind == GRID_NETWORK)
        if features_of(spec) != kind:
            raise CorruptFileError("the network of the file is said to have a feature grid, and has none")
    reader.finish()
    return spec


def _unpack_scene(reader: Reader) -> SceneSpec:
    (count,) = reader.unpack("B")
    check_limit("the number of networks", count, 2, 2 + MAX_PROPOSALS)
    networks = []
    for number in range(1, count + 1):
        (found,) = reader.unpack("B")
        if found != number:
            raise CorruptFileError(f"network {number} of the scene has the role {found}; roles ascend from 1")
        network = unpack_network(reader, with_grid=True)
        _check_in_scene(network)
        networks.append((role_of(number), network))
    return SceneSpec(tuple(networks))


def role_of(number: int) -> str:
    """The name of a role's number: 1 field, 2 color, 3 proposal.0, 4 proposal.1, ..."""
    return {1: "field", 2: "color"}.get(number, f"proposal.{number - 3}")


def _check_roles(roles: list[str]) -> None:
    check_limit("the number of networks", len(roles), 2, 2 + MAX_PROPOSALS)
    wanted = [role_of(number) for number in range(1, len(roles) + 1)]
    if roles != wanted:
        raise CorruptFileError(f"the networks of a scene are {wanted} in this order, got {roles}")


def _check_in_scene(network: InrSpec) -> None:
    if network.grid is not None and network.grid.dims != 3:
        raise CorruptFileError(
            f"a feature grid in a scene has {network.grid.dims} inputs; the format allows 3"
        )


def _check_modulated(spec: ModulatedSpec) -> None:
    if spec.base.grid is not None or spec.base.activation == "wire":
        raise CorruptFileError(
            "a modulated network has a feature grid or complex layers; it may have neither"
        )
    check_limit("the size of a latent vector", spec.latent_size, 1, MAX_LATENT_SIZE)
    check_limit("the side of a patch", spec.patch, 0, MAX_PATCHES)
    check_limit("the rows of patches", spec.rows, 1, MAX_PATCHES)
    check_limit("the columns of patches", spec.columns, 1, MAX_PATCHES)


def pack_network(spec: InrSpec) -> bytes:
    """The fields of a network, its feature grid apart."""
    _check_network(spec)
    head = [spec.in_features, spec.out_features, ACTIVATION_IDS[spec.activation], spec.frequencies]
    out = bytes(head) + pack_varint(spec.width) + pack_varint(spec.hidden_layers)
    out += struct.pack("<ff", spec.first_omega, spec.hidden_omega)
    return out + (struct.pack("<f", spec.sigma) if spec.activation == "wire" else b"")


def unpack_network(reader: Reader, *, with_grid: bool) -> InrSpec:
    """Reads what `pack_network` wrote, with what `pack_grid` wrote behind it."""
    in_features, out_features, activation, frequencies = reader.unpack("BBBB")
    width, hidden_layers = reader.varint(), reader.varint()
    first_omega, hidden_omega = reader.unpack("ff")
    name = name_of(ACTIVATION_IDS, activation, "activation")
    (sigma,) = reader.unpack("f") if name == "wire" else (0.0,)
    grid = _unpack_grid(reader, in_features) if with_grid else None
    sizes = (in_features, out_features, width, hidden_layers)
    spec = InrSpec(*sizes, name, first_omega, hidden_omega, sigma, frequencies, grid)
    _check_network(spec)
    return spec


def _check_network(spec: InrSpec) -> None:
    check_limit("in_features", spec.in_features, 1, 255)
    check_limit("out_features", spec.out_features, 1, 255)
    check_limit("frequencies", spec.frequencies, 0, 32)
    check_limit("width", spec.width, 1, 4096)
    check_limit("hidden_layers", spec.hidden_layers, 0, 64)
    for field, value in (("first_omega", spec.first_omega), ("hidden_omega", spec.hidden_omega)):
        if not 2.0**-20 <= value <= 2.0**20:
            raise CorruptFileError(f"{field} is {value}; the format allows 2^-20 to 2^20")
    if not 0.0 <= spec.sigma <= 2.0**20:
        raise CorruptFileError(f"sigma is {spec.sigma}; the format allows 0 to 2^20")
    if spec.grid is not None:
        _check_grid(spec.grid)
        found = (spec.in_features, spec.frequencies)
        if found not in ((2, 0), (3, 0)) or spec.grid.dims != spec.in_features:
            raise CorruptFileError(
                f"a network with a feature grid over {spec.grid.dims} coordinates has {found[0]} inputs and "
                f"{found[1]} frequencies; the format allows 2 or 3 of each of the former, and 0"
            )


def pack_grid(grid: GridSpec | None) -> bytes:
    """The fields of a feature grid, or of none."""
    if grid is None:
        return b"\0"
    head = bytes([len(grid.scales), LAYOUTS[grid.layout], grid.features, grid.log2_entries])
    return head + struct.pack(f"<{len(grid.scales)}f", *grid.scales)


def _unpack_grid(reader: Reader, dims: int) -> GridSpec | None:
    (levels,) = reader.unpack("B")
    if levels == 0:
        return None
    check_limit("the levels of a feature grid", levels, 0, 32)
    layout, features, log2_entries = reader.unpack("BBB")
    scales = reader.unpack(f"{levels}f")
    return GridSpec(scales, features, log2_entries, name_of(LAYOUTS, layout, "grid layout"), dims)


def _check_grid(grid: GridSpec) -> None:
    check_limit("the levels of a feature grid", len(grid.scales), 1, 32)
    check_limit("the features of a grid's entry", grid.features, 1, 8)
    check_limit("log2 of a level's entries", grid.log2_entries, 1, 24)
    for scale in grid.scales:
        if not 1.0 <= scale <= 2.0**20:
            raise CorruptFileError(f"the scale of a grid level is {scale}; the format allows 1 to 2^20")
