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
from pathlib import Path

import numpy as np
from torch import Tensor

from sinr3d.codec import container, progressive, sections
from sinr3d.codec.header import Domain, PriorRef, Record, pack_domain, unpack_domain
from sinr3d.codec.network import features_of, pack_spec, unpack_spec
from sinr3d.codec.occupancy_grid import pack_grid, unpack_grid
from sinr3d.codec.prior import add_prior, check_belongs, find_prior
from sinr3d.codec.progressive import Layers
from sinr3d.codec.tensors import CodedNetwork, Plan, decode_tensors, encode_tensors
from sinr3d.errors import CorruptFileError
from sinr3d.inr.spec import AnySpec, InrSpec, SceneSpec

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
        prior: what the file builds on, if it does.
        shared: the tensors of that prior; the weights of a single network have been added to them already.
    """

    spec: AnySpec
    weights: dict[str, Tensor]
    domain: Domain
    record: Record | None
    grid: np.ndarray | None = None
    refinements: container.Refinements | None = None
    prior: PriorRef | None = None
    shared: dict[str, Tensor] | None = None


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
    prior: PriorRef | None = None,
) -> bytes:
    """Weights of a fitted network to the bytes of a .sinr file.

    Args:
        weights: float32 tensors by name, as `tensor_shapes(spec)` lists them; with a prior and a single
            network what is to be added to the prior's.
        spec: the network, or the networks of a scene.
        domain: where the signal lives.
        plans: how each tensor is coded, by name.
        coder: "range", "brotli" or "laws".
        seed: of the dictionary, 0 to 2^32 - 1.
        record: how the file was made; optional.
        grid: of a scene, where there may be matter: boolean (R, R, R); optional.
        prior: what the file builds on; optional.

    Returns:
        The file.

    Raises:
        CorruptFileError, LimitError: a reader would refuse the file.
    """
    return pack_file(encode_tensors(weights, spec, plans, seed), domain, coder, record, grid, prior=prior)


def pack_file(
    network: CodedNetwork,
    domain: Domain,
    coder: str,
    record: Record | None = None,
    grid: np.ndarray | None = None,
    layers: Layers | None = None,
    prior: PriorRef | None = None,
) -> bytes:
    """The bytes of a file from the integers of its tensors.

    Args:
        network: the integers.
        domain: where the signal lives.
        coder: "range", "brotli" or "laws".
        record: how the file was made; optional.
        grid: of a scene, where there may be matter; optional.
        layers: how the file is cut into layers, if it is to be progressive (`ladder.choose_layers`).
        prior: what the file builds on: the tensors of a single network are what is to be added to the
            prior's; the latents of an image modulate the prior's network, and need one.

    Raises:
        CorruptFileError, LimitError: a reader would refuse the file.
    """
    domain.check_network(network.spec)
    payloads = {container.NETWORK: pack_spec(network.spec), container.DOMAIN: pack_domain(domain)}
    payloads |= sections.pack_codes(network, coder, layers)
    if record is not None:
        payloads[container.RECORD] = record.pack()
    if grid is not None:
        _check_grid_belongs(network.spec)
        payloads[container.GRID] = pack_grid(grid)
    features = features_of(network.spec)
    if prior is not None:
        features |= container.PRIOR
        payloads[container.PRIOR_REF] = prior.pack()
    unpack_spec(payloads[container.NETWORK], features)  # says what does not go together
    if coder == "laws":  # whoever reads laws knows this feature
        features |= container.ONE_CHECKSUM
    if layers is None:
        return container.pack_container(payloads, features)
    refinements = progressive.pack_refinements(network, layers)
    return container.pack_container(payloads, features | container.PROGRESSIVE, refinements)


def decompress(data: bytes, priors: str | Path | None = None) -> Contents:
    """The bytes of a .sinr file to the network and its domain.

    A progressive file may be cut short anywhere behind its base; a warning is logged then.

    Args:
        data: the file.
        priors: a folder to look in first for the prior that the file names, if it does (`prior.find_prior`).

    Raises:
        CorruptFileError and its kinds, UnsupportedVersionError, UnsupportedFeatureError: what is wrong.
        MissingPriorError: the file needs a prior that is not to be found.
    """
    file = container.unpack_container(data)
    if file.refinements is not None and not file.refinements.are_whole:
        _log.warning(file.refinements.warning)
    network, domain, record, grid = _unpack(file)
    weights, spec = decode_tensors(network), network.spec
    ref = shared = None
    if container.PRIOR_REF in file.sections:
        assert not isinstance(spec, SceneSpec)
        ref = PriorRef.unpack(file.payloads[container.PRIOR_REF])
        prior = find_prior(ref, priors)
        check_belongs(prior, spec)
        shared = prior.tensors
        weights = add_prior(weights, prior) if isinstance(spec, InrSpec) else weights
    return Contents(spec, weights, domain, record, grid, file.refinements, ref, shared)


def unpack_file(data: bytes) -> tuple[CodedNetwork, Domain, Record | None, np.ndarray | None]:
    """The integers of a file's tensors, its domain, its record and its occupancy grid; needs no prior.

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
    if (container.PRIOR_REF in parts) != bool(file.features & container.PRIOR):
        raise CorruptFileError("the section PRIOR does not fit the features of the file")
    domain = unpack_domain(parts[container.DOMAIN])
    record = Record.unpack(parts[container.RECORD]) if container.RECORD in parts else None
    spec = unpack_spec(parts[container.NETWORK], file.features)
    domain.check_network(spec)
    grid = None
    if container.GRID in parts:
        _check_grid_belongs(spec)
        grid = unpack_grid(parts[container.GRID])
    return sections.unpack_codes(parts, spec, file.refinements), domain, record, grid


def _check_grid_belongs(spec: AnySpec) -> None:
    if not isinstance(spec, SceneSpec):
        raise CorruptFileError("an occupancy grid belongs to a scene, the file holds a single network")
