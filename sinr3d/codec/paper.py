"""The `paper` profile: SINR as published (section 3.2 to 3.4 and 4.1 to 4.2).

OMP over the seeded Gaussian dictionary, s non-zero values a vector with 2 s < k1, a uniform 16-bit quantizer
for all that is stored, Brotli; biases untouched by the sparse code; matrices of tiny networks flattened.

The paper leaves k2 and s(m) open and describes a sweep. `docs/paper_rule.md` holds ours, its data and the
rule.
"""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from sinr3d.codec.quantizer import step_for_bits
from sinr3d.codec.tensors import DensePlan, Plan, SinrPlan
from sinr3d.inr.spec import AnySpec, tensor_shapes
from sinr3d.sparse.blocks import TINY_WIDTH, vector_length

BITS = 16
NUM_ATOMS = 1 << 16
TINY_RATIO = 0.46
NARROW_RATIO, NARROW = 0.43, 64
WIDE_RATIO, WIDE = 0.5, 128


def sparsity_of(length: int, width: int) -> int:
    """The rule for s: what the sweep of `docs/paper_rule.md` found, linear between its widths.

        s / k1 = 0.46 for tiny networks (m < 50), 0.43 up to m = 64, 0.50 from m = 128,

    at least 1, and cut so that 2 s < k1.

    Args:
        length: k1 >= 3, values of a vector: the width, or all of a tiny network's matrix.
        width: m, neurons in a hidden layer.
    """
    place = min(max((width - NARROW) / (WIDE - NARROW), 0.0), 1.0)
    ratio = TINY_RATIO if width < TINY_WIDTH else NARROW_RATIO + place * (WIDE_RATIO - NARROW_RATIO)
    return min(max(1, int(ratio * length)), (length - 1) // 2)


def paper_plans(
    weights: Mapping[str, Tensor],
    spec: AnySpec,
    num_atoms: int = NUM_ATOMS,
    ratio: float | None = None,
) -> dict[str, Plan]:
    """Plans of all tensors: sparse codes of the hidden matrices, 16-bit values for the rest.

    Args:
        weights: of the network.
        spec: the network.
        num_atoms: k2.
        ratio: s / k1; the rule's by default. s is cut so that 2 s < k1; where that leaves none, a matrix is
            not sparse-coded.
    """
    plans: dict[str, Plan] = {}
    for tensor in tensor_shapes(spec):
        length = vector_length((tensor.shape[0], tensor.shape[-1]), tensor.width)
        most = (length - 1) // 2
        if tensor.role == "hidden" and most > 0:
            sparsity = sparsity_of(length, tensor.width) if ratio is None else max(1, int(ratio * length))
            plans[tensor.name] = SinrPlan(num_atoms, min(sparsity, most), bits=BITS)
        else:
            plans[tensor.name] = DensePlan(step_for_bits(weights[tensor.name].numpy(), BITS))
    return plans


def few_bits(
    weights: Mapping[str, Tensor], spec: AnySpec, num_atoms: int = NUM_ATOMS, bits: int = 8
) -> dict[str, Plan]:
    """The paper's sparse codes, every value at fewer bits than its 16: SINR on top of INRIC's quantizer."""
    return {
        name: replace(plan, bits=bits)
        if isinstance(plan, SinrPlan)
        else DensePlan(step_for_bits(weights[name].numpy(), bits))
        for name, plan in paper_plans(weights, spec, num_atoms).items()
    }
