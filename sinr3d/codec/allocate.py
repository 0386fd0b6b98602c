"""Rate-distortion allocation: which step, and dense or sparse, for each tensor of the `rd` profile.

With the output error of tensor t modelled as g_t Delta_t^2 / 12 (uniform rounding noise, gain g_t measured on
the signal's probe points) and its rate as n_t log2(1 / Delta_t), the least rate at a total output error E is
at

    Delta_t^2 = 12 E n_t / (N g_t),    N = sum of n_t.

One number, E, is left; it is searched against the score asked for. Then each matrix takes the sparse code
instead if its cost SSE + lambda bits is smaller, lambda being the slope of the dense code at its step.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sinr3d.codec import quantizer
from sinr3d.codec.entropy import support_bits
from sinr3d.codec.limits import MAX_VECTOR_LENGTH
from sinr3d.codec.tensors import (
    DENSE_ROLES,
    DensePlan,
    Plan,
    SinrCode,
    SinrPlan,
    decode_tensor,
    encode_tensor,
)
from sinr3d.inr.spec import AnySpec, TensorShape, tensor_shapes
from sinr3d.sparse.blocks import vector_length

_TRIAL = 1 / 100  # of the tensor's root mean square: trial noise small enough for the linear regime
_SINR_ATOMS = (1024, 16384)
_SINR_SPARSITY = (1 / 16, 1 / 8, 1 / 4, 3 / 8)


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


def better_codes(
    weights: Mapping[str, Tensor], spec: AnySpec, plans: Mapping[str, Plan], seed: int = 0
) -> dict[str, Plan]:
    """Replaces a matrix's dense plan by a sparse one wherever SSE + lambda bits is smaller.

    lambda = 2 ln 2 Delta^2 / 12 is the slope of the dense code: what it pays in squared error for a bit less.
    """
    chosen = dict(plans)
    for tensor in tensor_shapes(spec):
        plan = plans[tensor.name]
        if tensor.role in DENSE_ROLES or not isinstance(plan, DensePlan):
            continue
        slope = 2 * math.log(2) * plan.step**2 / 12
        best = _cost(weights[tensor.name], tensor, plan, slope, seed)
        for candidate in _sinr_candidates(tensor, plan.step):
            cost = _cost(weights[tensor.name], tensor, candidate, slope, seed)
            if cost < best:
                best, chosen[tensor.name] = cost, candidate
    return chosen


def _sinr_candidates(tensor: TensorShape, step: float) -> list[SinrPlan]:
    length = vector_length((tensor.shape[0], tensor.shape[1]), tensor.width)
    candidates = []
    if length > MAX_VECTOR_LENGTH:
        return candidates
    for num_atoms in _SINR_ATOMS:
        for ratio in _SINR_SPARSITY:
            sparsity = round(length * ratio)
            # A coefficient's rounding noise is spread over an atom of norm sqrt(length).
            if 0 < sparsity < num_atoms:
                own_step = quantizer.round_step(step / math.sqrt(length))
                candidates.append(SinrPlan(num_atoms, sparsity, own_step))
    return candidates


def _cost(values: Tensor, tensor: TensorShape, plan: Plan, slope: float, seed: int) -> float:
    """SSE + slope * estimated bits of one tensor under a plan."""
    code = encode_tensor(values, tensor, plan, seed)
    decoded = decode_tensor(code, tensor, seed)
    squared = float(np.sum((decoded.astype(np.float64) - values.numpy()) ** 2))
    bits = entropy_bits(code.symbols)
    if isinstance(code, SinrCode):
        bits += len(code.support) * support_bits(code.num_atoms, code.support.shape[1])
    return squared + slope * bits


def entropy_bits(symbols: np.ndarray) -> float:
    """Estimated bits of symbols: the entropy of their magnitudes' bit lengths, plus signs and lower bits.

    This is the shape of the adaptive coder's model (`codec/entropy.py`), without its contexts.
    """
    magnitudes = np.abs(symbols.ravel()).astype(np.int64)
    lengths = np.where(magnitudes > 0, np.floor(np.log2(np.maximum(magnitudes, 1))).astype(np.int64) + 1, 0)
    counts = np.bincount(lengths).astype(np.float64)
    probabilities = counts[counts > 0] / len(magnitudes)
    length_bits = -float(np.sum(counts[counts > 0] * np.log2(probabilities)))
    return length_bits + float(np.maximum(lengths - 1, 0).sum() + np.count_nonzero(magnitudes))
