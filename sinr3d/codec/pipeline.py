"""The whole codec on one page.

    weights --plan--> tensors.encode_tensors    vectors, OMP over the seeded dictionary, quantizer -> integers
            ------->  sections.pack_codes       laws, range coder or Brotli -> payloads
            ------->  container.pack_container  magic, version, checksummed sections -> bytes

and the same read upwards: bytes -> container -> sections -> tensors -> weights. Refinements of a progressive
file stand beside the sections (`codec/progressive.py`).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sinr3d.codec import container, progressive, sections
from sinr3d.codec.header import Domain, Record, pack_domain, unpack_domain
from sinr3d.codec.network import pack_spec, unpack_spec
from sinr3d.codec.occupancy_grid import pack_grid, unpack_grid
from sinr3d.codec.progressive import Layers
from sinr3d.codec.tensors import CodedNetwork, Plan, decode_tensors, encode_tensors
from sinr3d.errors import CorruptFileError
from sinr3d.inr.spec import AnySpec, SceneSpec

_log = logging.getLogger("sinr3d")


@dataclass(frozen=True)
class Contents:
    """What a file holds, decoded.

    Attributes:
        spec: the network, or the networks of a scene.
        weights: its tensors, float32, bit-identical on every machine.
        domain: where the signal lives; its class is the kind of the file.
        record: how the file was made, if it says so.
        grid: of a scene, where there may be matter: boolean (R, R, R) over coords [-1, 1]^3, if the file
            has one (`codec/occupancy_grid.py`).
        refinements: of a progressive file; the weights are coarser than meant where not all are present.
    """

    spec: AnySpec
    weights: dict[str, Tensor]
    domain: Domain
    record: Record | None
    grid: np.ndarray | None = None
    refinements: container.Refinements | None = None


def compress(
    weights: Mapping[str, Tensor],
    spec: AnySpec,
    domain: Domain,
    plans: Mapping[str, Plan],
    *,
    coder: str = "range",
    seed: int = 0,
    record: Record | None = None,
    grid: np.ndarray | None = None,
) -> bytes:
    """Weights of a fitted network to the bytes of a .sinr file.

    Args:
        weights: float32 tensors by name, as `tensor_shapes(spec)` lists them.
        spec: the network, or the networks of a scene.
        domain: where the signal lives.
        plans: how each tensor is coded, by name.
        coder: "range", "brotli" or "laws".
        seed: of the dictionary, 0 to 2^32 - 1.
        record: how the file was made; optional.
        grid: of a scene, where there may be matter: boolean (R, R, R); optional.

    Returns:
        The file.

    Raises:
        CorruptFileError, LimitError: a reader would refuse the file.
    """
    return pack_file(encode_tensors(weights, spec, plans, seed), domain, coder, record, grid)


def pack_file(
    network: CodedNetwork,
    domain: Domain,
    coder: str,
    record: Record | None = None,
    grid: np.ndarray | None = None,
    layers: Layers | None = None,
) -> bytes:
    """The bytes of a file from the integers of its tensors.

    Args:
        network: the integers.
        domain: where the signal lives.
        coder: "range", "brotli" or "laws".
        record: how the file was made; optional.
        grid: of a scene, where there may be matter; optional.
        layers: how the file is cut into layers, if it is to be progressive (`ladder.choose_layers`).
    """
    domain.check_network(network.spec)
    payloads = {container.NETWORK: pack_spec(network.spec), container.DOMAIN: pack_domain(domain)}
    payloads |= sections.pack_codes(network, coder, layers)
    if record is not None:
        payloads[container.RECORD] = record.pack()
    if grid is not None:
        _check_grid_belongs(network.spec)
        payloads[container.GRID] = pack_grid(grid)
    features = container.SCENE if isinstance(network.spec, SceneSpec) else 0
    if coder == "laws":  # whoever reads laws knows this feature
        features |= container.ONE_CHECKSUM
    if layers is None:
        return container.pack_container(payloads, features)
    refinements = progressive.pack_refinements(network, layers)
    return container.pack_container(payloads, features | container.PROGRESSIVE, refinements)


def decompress(data: bytes) -> Contents:
    """The bytes of a .sinr file to the network and its domain.

    A progressive file may be cut short anywhere behind its base; a warning is logged then.

    Raises:
        CorruptFileError and its kinds, UnsupportedVersionError, UnsupportedFeatureError: what is wrong.
    """
    file = container.unpack_container(data)
    if file.refinements is not None and not file.refinements.are_whole:
        _log.warning(file.refinements.warning)
    network, domain, record, grid = _unpack(file)
    return Contents(network.spec, decode_tensors(network), domain, record, grid, file.refinements)


def unpack_file(data: bytes) -> tuple[CodedNetwork, Domain, Record | None, np.ndarray | None]:
    """The integers of a file's tensors, its domain, its record and its occupancy grid.

    Of a progressive file that is cut short, symbols that lack bits are middles of their cells, in half steps.
    """
    return _unpack(container.unpack_container(data))


def _unpack(
    file: container.Container,
) -> tuple[CodedNetwork, Domain, Record | None, np.ndarray | None]:
    parts = file.payloads
    for tag in (container.NETWORK, container.DOMAIN):
        if tag not in parts:
            raise CorruptFileError(f"the file has no section {container.SECTION_NAMES[tag]}")
    domain = unpack_domain(parts[container.DOMAIN])
    record = Record.unpack(parts[container.RECORD]) if container.RECORD in parts else None
    spec = unpack_spec(parts[container.NETWORK], scene=bool(file.features & container.SCENE))
    domain.check_network(spec)
    grid = None
    if container.GRID in parts:
        _check_grid_belongs(spec)
        grid = unpack_grid(parts[container.GRID])
    return sections.unpack_codes(parts, spec, file.refinements), domain, record, grid


def _check_grid_belongs(spec: AnySpec) -> None:
    if not isinstance(spec, SceneSpec):
        raise CorruptFileError("an occupancy grid belongs to a scene, the file holds a single network")
