"""Every transform at every rate, without retraining: the hidden matrices of a network in each code."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sinr3d.bench import transform_codes as codes
from sinr3d.codec.quantizer import dequantize, quantize, step_for_bits
from sinr3d.fit.signal import Signal
from sinr3d.inr.mlp import evaluate
from sinr3d.inr.spec import InrSpec, tensor_shapes
from sinr3d.sparse.closed_loop import input_metrics

GAUSSIAN = "Gaussian"
_STEPS = (0.03, 0.06, 0.12, 0.25, 0.5, 0.8, 1.0, 1.3, 1.6, 2.0, 2.3, 2.6, 2.8, 3.1)  # of the rms
_VALUE_STEPS = (0.25, 0.7, 1.5, 2.0)  # of the rms, for atoms of unit norm
_SPARSITIES = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 25 / 64)
_RANKS = (1 / 8, 1 / 4, 3 / 8, 1 / 2)
_SECTIONS = (8, 16, 32)
_MOST_INDEX_BITS = 3  # of a weight: beyond, other codes have long won
_EDGE_BITS = 12

Coder = Callable[[np.ndarray, Tensor], codes.Coded]
"""Codes a matrix (out, in) of unit variance, given the metric (in, in) of its inputs."""
Judge = Callable[[list[np.ndarray]], float]


@dataclass(frozen=True)
class CodedPoint:
    """Hidden matrices coded without retraining.

    Attributes:
        input: name of the signal, or "Gaussian" for independent normal values in its place.
        transform: the code.
        setting: its parameters.
        rate: ideal bits a weight.
        snr_db: mean square of the weights over that of their error, each matrix at unit variance.
        gap_db: of the bound 6.02 dB a bit minus snr_db.
        score: PSNR or IoU of the network, its other tensors at 12 bits; None for the Gaussian.
    """

    input: str
    transform: str
    setting: str
    rate: float
    snr_db: float
    gap_db: float
    score: float | None


def sweep_gaussian(width: int, dictionaries: tuple[int, ...]) -> list[CodedPoint]:
    """Three matrices of independent normal values in every code."""
    source = list(np.random.default_rng(0).standard_normal((3, width, width)))
    metrics = [torch.eye(width, dtype=torch.float64)] * len(source)
    return [
        _point(GAUSSIAN, transform, setting, source, metrics, coder, None)
        for transform, setting, coder in _coders(width, dictionaries)
        if "metric" not in transform  # of independent inputs: the plain error
    ]


def sweep(
    name: str, spec: InrSpec, weights: dict[str, Tensor], signal: Signal, dictionaries: tuple[int, ...]
) -> list[CodedPoint]:
    """The hidden matrices of a network in every code; the other tensors are rounded at 12 bits.

    Args:
        name: of the signal.
        spec: the network.
        weights: its tensors.
        signal: what they were fitted to.
        dictionaries: values of k2.
    """
    hidden = [tensor.name for tensor in tensor_shapes(spec) if tensor.role == "hidden"]
    metrics = input_metrics(lambda: evaluate(spec, weights, signal.probe()))[1 : 1 + len(hidden)]
    edges = {k: _rounded_edge(v) for k, v in weights.items() if k not in hidden}
    sizes = [float(weights[k].double().square().mean().sqrt()) for k in hidden]
    matrices = [weights[k].double().numpy() / size for k, size in zip(hidden, sizes, strict=True)]

    def judge(decoded: list[np.ndarray]) -> float:
        scaled = zip(hidden, decoded, sizes, strict=True)
        restored = edges | {k: torch.from_numpy(v * size).float() for k, v, size in scaled}
        with torch.no_grad():
            return signal.score(lambda coords: evaluate(spec, restored, coords))

    return [
        _point(name, transform, setting, matrices, metrics, coder, judge)
        for transform, setting, coder in _coders(spec.width, dictionaries)
    ]


def _rounded_edge(values: Tensor) -> Tensor:
    step = step_for_bits(values.numpy(), _EDGE_BITS)
    return torch.from_numpy(dequantize(quantize(values.numpy(), step), step))


def _point(
    name: str,
    transform: str,
    setting: str,
    matrices: list[np.ndarray],
    metrics: list[Tensor],
    coder: Coder,
    judge: Judge | None,
) -> CodedPoint:
    coded = [coder(matrix, metric) for matrix, metric in zip(matrices, metrics, strict=True)]
    count = sum(matrix.size for matrix in matrices)
    rate = sum(code.bits for code in coded) / count
    error = sum(np.sum((c.values - m) ** 2) for c, m in zip(coded, matrices, strict=True)) / count
    snr = float(-10 * np.log10(max(error, 1e-12)))
    score = None if judge is None else judge([code.values for code in coded])
    return CodedPoint(name, transform, setting, rate, snr, 20 * np.log10(2) * rate - snr, score)


def _coders(width: int, dictionaries: tuple[int, ...]) -> Iterator[tuple[str, str, Coder]]:
    """Every transform and setting: (name, setting, coder)."""
    for step in _STEPS:
        yield "dense", f"step {step}", _with(lambda m, _, step: codes.dense(m, step), step)
        yield "dense, rdo", f"step {step}", _with(lambda m, _, step: codes.dense_rdo(m, step), step)
        half = step / 2  # of equal entropy
        yield "dense, trellis", f"step {half:g}", _with(lambda m, _, step: codes.dense_trellis(m, step), half)
        yield "seeded rotation", f"step {step}", _with(lambda m, _, step: codes.rotated(m, step, 1), step)
        closed = _with(lambda m, metric, step: codes.dense_closed(m, step, metric), step)
        yield "dense in the metric", f"step {step}", closed
    for rank in (round(width * ratio) for ratio in _RANKS):
        for step in _STEPS[1:7]:
            coder = _with(lambda m, _, rank, step: codes.low_rank(m, rank, step), rank, step)
            yield "low rank", f"rank {rank}, step {step}", coder
    for num_atoms in dictionaries:
        yield from _regression_coders(width, num_atoms)
        yield from _sinr_coders(width, num_atoms)


def _with(function: Callable[..., codes.Coded], *settings: Any) -> Coder:
    return lambda matrix, metric: function(matrix, metric, *settings)


def _regression_coders(width: int, num_atoms: int) -> Iterator[tuple[str, str, Coder]]:
    for length in (n for n in _SECTIONS if n <= width):
        for rounds in (1, 2, 4):
            if rounds * (np.log2(num_atoms) + 1) / length < _MOST_INDEX_BITS:
                setting = f"k2 {num_atoms}, {rounds} atoms for {length} values"
                coder = _with(lambda m, _, *a: codes.regression(m, *a), length, num_atoms, rounds)
                yield "regression", setting, coder


def _sinr_coders(width: int, num_atoms: int) -> Iterator[tuple[str, str, Coder]]:
    """The paper's code of the columns; and of the rows, where the metric of their inputs serves."""
    atoms = codes.unit_atoms(width, num_atoms)
    for sparsity in sorted({max(1, round(width * ratio)) for ratio in _SPARSITIES}):
        plain, weighted = _Pursuits(atoms, sparsity), _Pursuits(atoms, sparsity)
        for step in _VALUE_STEPS:
            setting = f"k2 {num_atoms}, s {sparsity}, step {step}"
            yield "SINR", setting, _with(_code_columns, plain, step)
            yield "SINR, closed loop", setting, _with(_code_columns_closed, atoms, sparsity, step)
            yield "SINR in the metric", setting, _with(_code_rows, weighted, step)


class _Pursuits:
    """The pursuits of one dictionary and sparsity; all steps share them."""

    def __init__(self, atoms: Tensor, sparsity: int) -> None:
        self._atoms, self._sparsity = atoms, sparsity
        self._found: dict[bytes, codes.Pursuit] = {}

    def of(self, vectors: np.ndarray, metric: Tensor | None = None) -> codes.Pursuit:
        key = vectors.tobytes()
        if key not in self._found:
            own = np.ascontiguousarray(vectors)
            self._found[key] = codes.pursue(own, self._atoms, self._sparsity, metric)
        return self._found[key]


def _code_columns(matrix: np.ndarray, _: Tensor, pursuits: _Pursuits, step: float) -> codes.Coded:
    coded = codes.sinr_open(pursuits.of(matrix.T), step)
    return codes.Coded(coded.values.T, coded.bits)


def _code_columns_closed(
    matrix: np.ndarray, _: Tensor, atoms: Tensor, sparsity: int, step: float
) -> codes.Coded:
    coded = codes.sinr_closed(np.ascontiguousarray(matrix.T), atoms, sparsity, step)
    return codes.Coded(coded.values.T, coded.bits)


def _code_rows(matrix: np.ndarray, metric: Tensor, pursuits: _Pursuits, step: float) -> codes.Coded:
    return codes.sinr_open(pursuits.of(matrix, metric), step)
