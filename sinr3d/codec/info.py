"""What a file says of itself, without decoding its weights. Needs neither torch nor numpy."""

import dataclasses
from typing import Any

from sinr3d.codec import container
from sinr3d.codec.fields import Reader
from sinr3d.codec.header import ImageDomain, PriorRef, Record, unpack_domain
from sinr3d.codec.network import unpack_spec
from sinr3d.codec.scene import DefaultCameras, SceneDomain
from sinr3d.errors import CorruptFileError
from sinr3d.inr.spec import InrSpec, ModulatedSpec, SceneSpec


def describe(data: bytes) -> dict[str, Any]:
    """The facts of a file: kind, network, domain, record, and every section with its bytes.

    Args:
        data: a whole .sinr file, or a progressive one that is cut short behind its base.

    Returns:
        Plain values, ready for JSON.

    Raises:
        CorruptFileError and its kinds, UnsupportedVersionError, UnsupportedFeatureError: what is wrong.
    """
    file = container.unpack_container(data)
    sections = file.sections
    for tag in (container.NETWORK, container.DOMAIN, container.TENSORS, container.VALUES):
        if tag not in sections:
            raise CorruptFileError(f"the file has no section {container.SECTION_NAMES[tag]}")
    spec = unpack_spec(sections[container.NETWORK].payload, file.features)
    domain = unpack_domain(sections[container.DOMAIN].payload)
    codes = (container.VALUES, container.SUPPORTS, container.TABLES, container.GRID)
    code_bytes = sum(len(payload) for tag, payload in file.payloads.items() if tag in codes)
    facts: dict[str, Any] = {
        "kind": domain.kind,
        "bytes": len(data),
        "format_version": container.VERSION,
        "weights": spec.num_weights,
        "bits_per_weight": round(8 * len(data) / spec.num_weights, 3),
    }
    if isinstance(domain, ImageDomain):
        facts["bpp"] = round(8 * len(data) / (domain.width * domain.height), 5)
    if isinstance(spec, SceneSpec):
        facts["networks"] = {role: _network(network) for role, network in spec.networks}
    elif isinstance(spec, ModulatedSpec):
        facts["network"] = _network(spec.base)
        sizes = ("latent_size", "patch", "rows", "columns")
        facts["latents"] = {name: getattr(spec, name) for name in sizes}
    else:
        facts["network"] = _network(spec)
    if container.PRIOR_REF in sections:
        facts["prior"] = dataclasses.asdict(PriorRef.unpack(sections[container.PRIOR_REF].payload))
    facts["domain"] = dataclasses.asdict(domain)
    if isinstance(domain, SceneDomain) and domain.cameras is not None:
        facts["domain"]["cameras"] = _cameras(domain.cameras)
    facts["coder"] = _coder(sections[container.TENSORS].payload)
    if container.GRID in sections:
        facts["grid"] = {"resolution": Reader(sections[container.GRID].payload, "the section GRID").varint()}
    if container.RECORD in sections:
        record = dataclasses.asdict(Record.unpack(sections[container.RECORD].payload))
        record["writer"] = ".".join(map(str, record["writer"]))
        facts["record"] = record
    sizes = {section.name: section.num_bytes for section in sections.values()}
    if (found := file.refinements) is not None:
        facts["layers"] = {
            "present": len(found.present) + 1,
            "of": len(found.sizes) + 1,
            "missing_bytes": found.missing_bytes,
        }
        sizes |= {f"refinement {n}": len(data) + 4 for n, data in enumerate(found.present, start=1)}
        code_bytes += sum(map(len, found.present))
    facts["sections"] = {"head": len(data) - sum(sizes.values()), **sizes}
    facts["overhead_bytes"] = len(data) - code_bytes
    return facts


def _network(spec: InrSpec) -> dict[str, Any]:
    """The fields of a network; those of its feature grid only if it has one."""
    facts = dataclasses.asdict(spec)
    return {name: value for name, value in facts.items() if name != "grid" or value is not None}


def _cameras(cameras: DefaultCameras) -> dict[str, Any]:
    """The fields of the cameras, of the poses their number."""
    return dataclasses.asdict(cameras) | {"poses": len(cameras.poses)}


def _coder(tensors: bytes) -> str:
    number = Reader(tensors, "the section TENSORS").take(1)[0]
    return {0: "brotli", 1: "range", 2: "laws"}.get(number, f"unknown ({number})")
