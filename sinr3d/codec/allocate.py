"""Rate-distortion allocation: which step for each tensor of the `rd` profile.

With the output error of tensor t modelled as g_t Delta_t^2 / 12 (uniform rounding noise, gain g_t measured on
the signal's probe points) and its rate as n_t log2(1 / Delta_t), the least rate at a total output error E is
at

    Delta_t^2 = 12 E n_t / (N g_t),    N = sum of n_t.

One number, E, is left; it is searched against the score asked for. Where codes are not tuned, each matrix
then gets the transform of least cost, rounding or a trellis. Sparse codes are not tried: they win nowhere
that a network is of use (docs/transforms.md).
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sinr3d.codec import quantizer
from sinr3d.codec.rates import estimate_bits
from sinr3d.codec.tensors import (
    DENSE_ROLES,
    DensePlan,
    Plan,
    TrellisPlan,
    decode_tensor,
    encode_tensor,
)
from sinr3d.inr.spec import AnySpec, TensorShape, tensor_shapes

_TRELLIS_STEP = 0.57  # over that of a rounding of about the same error
_TRIAL = 1 / 100  # of the tensor's root mean square: trial noise small enough for the linear regime


@dataclass(frozen=True)
class Gains:
    """How much the output moves when a tensor's values do.

    Attributes:
        by_name: g_t: mean squared output error over the variance of the tensor's rounding noise.
    """

    by_name: dict[str, float]


def measure_gains(
    weights: Mapping[str, Tensor], spec: AnySpec, outputs: Callable[[Mapping[str, Tensor]], Tensor]
) -> Gains:
    """Adds small noise to one tensor at a time and measures the error of the outputs.

    The noise is +-sigma with random signs, not rounding: the error of rounding a single value may be zero.

    Args:
        weights: of the network or networks.
        spec: the same.
        outputs: what is to be kept, as a function of the weights: values at fixed probe points, any shape.
    """
    signs = torch.Generator().manual_seed(0)
    with torch.no_grad():
        exact = outputs(weights)
        gains = {}
        for tensor in tensor_shapes(spec):
            values = weights[tensor.name]
            sigma = max(_TRIAL * float(values.square().mean().sqrt()), 1e-6)
            noise = sigma * (2.0 * torch.randint(2, values.shape, generator=signs) - 1.0)
            moved = outputs({**weights, tensor.name: values + noise})
            gains[tensor.name] = max(float((moved - exact).square().mean()) / sigma**2, 1e-12)
    return Gains(gains)


def dense_plans(gains: Gains, weights: Mapping[str, Tensor], spec: AnySpec, error: float) -> dict[str, Plan]:
    """The steps of least rate at a predicted mean squared output error."""
    plans: dict[str, Plan] = {}
    for tensor in tensor_shapes(spec):
        share = tensor.size / spec.num_weights
        step = math.sqrt(12 * error * share / gains.by_name[tensor.name])
        largest = float(weights[tensor.name].abs().max())
        # Between a symbol range that always fits and one that rounds everything to zero.
        step = min(max(step, largest / 2**22), max(2 * largest, quantizer.MIN_STEP))
        plans[tensor.name] = DensePlan(quantizer.round_step(step))
    return plans


def along_trellis(plans: Mapping[str, Plan], names: Collection[str]) -> dict[str, Plan]:
    """The same with some dense matrices along a trellis (`codec/trellis.py`), at about the same error."""
    changed = dict(plans)
    for name in names:
        plan = plans[name]
        assert isinstance(plan, DensePlan)
        changed[name] = TrellisPlan(quantizer.round_step(_TRELLIS_STEP * plan.step))
    return changed


def choose_trellised(
    plans: Mapping[str, Plan],
    weights: Mapping[str, Tensor],
    spec: AnySpec,
    outputs: Callable[[Mapping[str, Tensor]], Tensor],
) -> list[str]:
    """The dense matrices that cost less along a trellis than rounded, one tensor at a time.

        cost = D + lambda R,   lambda = 2 ln 2 D_rounded / n

    D is the mean squared change of the outputs when this tensor alone is coded, R its bits by the models of
    the coder. Finer steps buy D at lambda a bit: it falls to a quarter with one bit more for each value.

    Args:
        plans: with the steps of rounding.
        weights: of the network or networks.
        spec: the same.
        outputs: as of `measure_gains`.

    Returns:
        Their names.
    """
    with torch.no_grad():
        exact = outputs(weights)

        def measure(tensor: TensorShape, plan: Plan) -> tuple[float, float]:
            code = encode_tensor(weights[tensor.name], tensor, plan)
            decoded = torch.from_numpy(decode_tensor(code, tensor, 0))
            moved = outputs({**weights, tensor.name: decoded})
            bits = estimate_bits(code.symbols, dependent=isinstance(plan, TrellisPlan))
            return float((moved - exact).square().mean()), bits

        chosen = []
        for tensor in tensor_shapes(spec):
            plan = plans[tensor.name]
            if tensor.role in DENSE_ROLES or not isinstance(plan, DensePlan):
                continue
            rounded = measure(tensor, plan)
            trellis = measure(tensor, along_trellis({tensor.name: plan}, [tensor.name])[tensor.name])
            slope = 2 * math.log(2) * rounded[0] / tensor.size
            if trellis[0] + slope * trellis[1] < rounded[0] + slope * rounded[1]:
                chosen.append(tensor.name)
    return chosen


def search_error(fits: Callable[[float], bool], start: float, *, rounds: int = 9) -> float | None:
    """The largest error for which `fits` holds, within a factor of 2^(1/16); None if none was found.

    Args:
        fits: whether an output error can be afforded; true for small ones.
        start: a first guess, > 0.
        rounds: evaluations after the bracket is found.
    """
    low, high = (start, None) if fits(start) else (None, start)
    for _ in range(12):
        if low is not None and high is not None:
            break
        if low is None:
            assert high is not None
            trial = high / 8
            low, high = (trial, high) if fits(trial) else (None, trial)
        else:
            trial = low * 8
            low, high = (trial, None) if fits(trial) else (low, trial)
    if low is None or high is None:
        return low
    while rounds > 0 and high / low > 2 ** (1 / 16):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if fits(middle) else (low, middle)
        rounds -= 1
    return low
