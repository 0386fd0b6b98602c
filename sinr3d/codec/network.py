"""The section NETWORK: one network, or the networks of a scene. Needs neither torch nor numpy."""

import struct

from sinr3d.codec.fields import Reader, name_of, pack_varint
from sinr3d.codec.limits import check_limit
from sinr3d.errors import CorruptFileError, UsageError
from sinr3d.inr.spec import ACTIVATION_IDS, AnySpec, GridSpec, InrSpec, SceneSpec

LAYOUTS = {"hashed": 1, "dense": 2}
MAX_PROPOSALS = 7


def pack_spec(spec: AnySpec) -> bytes:
    """The section NETWORK.

    Raises:
        CorruptFileError, LimitError: a reader would refuse it.
        UsageError: a network with a feature grid stands outside a scene.
    """
    if isinstance(spec, SceneSpec):
        _check_roles([role for role, _ in spec.networks])
        networks = (
            bytes([number]) + _pack_network(network) + _pack_grid(network)
            for number, (_, network) in enumerate(spec.networks, start=1)
        )
        return bytes([len(spec.networks)]) + b"".join(networks)
    if spec.grid is not None:
        raise UsageError("a network with a feature grid is stored in a scene only: give a SceneSpec")
    return _pack_network(spec)


def unpack_spec(data: bytes, scene: bool = False) -> AnySpec:
    """Reads the section NETWORK and checks every size against the limits.

    Args:
        data: the payload.
        scene: whether the file says that it holds a scene.
    """
    reader = Reader(data, "the section NETWORK")
    if not scene:
        spec = _unpack_network(reader)
        reader.finish()
        return spec
    (count,) = reader.unpack("B")
    check_limit("the number of networks", count, 2, 2 + MAX_PROPOSALS)
    networks = []
    for number in range(1, count + 1):
        (found,) = reader.unpack("B")
        if found != number:
            raise CorruptFileError(f"network {number} of the scene has the role {found}; roles ascend from 1")
        networks.append((role_of(number), _unpack_network(reader, scene=True)))
    reader.finish()
    return SceneSpec(tuple(networks))


def role_of(number: int) -> str:
    """The name of a role's number: 1 field, 2 color, 3 proposal.0, 4 proposal.1, ..."""
    return {1: "field", 2: "color"}.get(number, f"proposal.{number - 3}")


def _check_roles(roles: list[str]) -> None:
    check_limit("the number of networks", len(roles), 2, 2 + MAX_PROPOSALS)
    wanted = [role_of(number) for number in range(1, len(roles) + 1)]
    if roles != wanted:
        raise CorruptFileError(f"the networks of a scene are {wanted} in this order, got {roles}")


def _pack_network(spec: InrSpec) -> bytes:
    _check_network(spec)
    head = [spec.in_features, spec.out_features, ACTIVATION_IDS[spec.activation], spec.frequencies]
    out = bytes(head) + pack_varint(spec.width) + pack_varint(spec.hidden_layers)
    out += struct.pack("<ff", spec.first_omega, spec.hidden_omega)
    return out + (struct.pack("<f", spec.sigma) if spec.activation == "wire" else b"")


def _unpack_network(reader: Reader, scene: bool = False) -> InrSpec:
    in_features, out_features, activation, frequencies = reader.unpack("BBBB")
    width, hidden_layers = reader.varint(), reader.varint()
    first_omega, hidden_omega = reader.unpack("ff")
    name = name_of(ACTIVATION_IDS, activation, "activation")
    (sigma,) = reader.unpack("f") if name == "wire" else (0.0,)
    grid = _unpack_grid(reader) if scene else None
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
        if (spec.in_features, spec.frequencies) != (3, 0):
            raise CorruptFileError(
                f"a network with a feature grid has {spec.in_features} inputs and {spec.frequencies} "
                f"frequencies; the format allows 3 and 0"
            )


def _pack_grid(spec: InrSpec) -> bytes:
    grid = spec.grid
    if grid is None:
        return b"\0"
    head = bytes([len(grid.scales), LAYOUTS[grid.layout], grid.features, grid.log2_entries])
    return head + struct.pack(f"<{len(grid.scales)}f", *grid.scales)


def _unpack_grid(reader: Reader) -> GridSpec | None:
    (levels,) = reader.unpack("B")
    if levels == 0:
        return None
    check_limit("the levels of a feature grid", levels, 0, 32)
    layout, features, log2_entries = reader.unpack("BBB")
    scales = reader.unpack(f"{levels}f")
    return GridSpec(scales, features, log2_entries, name_of(LAYOUTS, layout, "grid layout"))


def _check_grid(grid: GridSpec) -> None:
    check_limit("the levels of a feature grid", len(grid.scales), 1, 32)
    check_limit("the features of a grid's entry", grid.features, 1, 8)
    check_limit("log2 of a level's entries", grid.log2_entries, 1, 24)
    for scale in grid.scales:
        if not 1.0 <= scale <= 2.0**20:
            raise CorruptFileError(f"the scale of a grid level is {scale}; the format allows 1 to 2^20")
