"""Closed-loop rounding against its definition and against rounding to the nearest."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.spec import default_spec
from sinr3d.sparse.closed_loop import input_metrics, round_repairing


def random_problem(seed: int, rows: int = 6, length: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, and inputs that are far from independent."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(200, 4, generator=generator) @ torch.randn(4, length, generator=generator)
    inputs += 0.1 * torch.randn(200, length, generator=generator)
    return torch.randn(rows, length, generator=generator), inputs.double()


def output_error(matrix: torch.Tensor, symbols: torch.Tensor, step: float, inputs: torch.Tensor) -> float:
    return float((inputs @ (matrix.double() - symbols * step).T).square().mean())


@given(st.integers(0, 50), st.sampled_from([0.05, 0.3, 1.0]))
def test_the_output_is_closer_than_by_rounding_to_the_nearest(seed: int, step: float) -> None:
    matrix, inputs = random_problem(seed)
    symbols = round_repairing(matrix, inputs.T @ inputs / len(inputs), step)
    nearest = (matrix.double() / step).round()
    assert output_error(matrix, symbols, step, inputs) < output_error(matrix, nearest, step, inputs)


def test_inputs_that_do_not_depend_on_each_other_leave_rounding_to_the_nearest() -> None:
    matrix, _ = random_problem(0)
    metric = torch.diag(torch.linspace(0.5, 2.0, 12, dtype=torch.float64))
    symbols = round_repairing(matrix, metric, 0.25)
    assert symbols.dtype == torch.int32
    assert torch.equal(symbols, (matrix.double() / 0.25).round().int())


def test_a_row_of_two_finds_the_best_of_all_roundings() -> None:
    metric = torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64)
    row = torch.tensor([[0.45, 0.45]])
    costs = {}
    for pair in itertools.product((0, 1), repeat=2):
        error = row[0].double() - torch.tensor(pair).double()
        costs[pair] = float(error @ metric @ error)
    assert tuple(round_repairing(row, metric, 1.0)[0].tolist()) in sorted(costs, key=lambda p: costs[p])[:2]


def test_each_row_stands_alone() -> None:
    matrix, inputs = random_problem(3)
    metric = inputs.T @ inputs
    alone = torch.cat([round_repairing(row[None], metric, 0.2) for row in matrix])
    assert torch.equal(round_repairing(matrix, metric, 0.2), alone)


def test_dead_inputs_and_dead_layers_are_rounded_to_the_nearest() -> None:
    matrix, inputs = random_problem(4)
    zeros = torch.zeros(12, 12, dtype=torch.float64)
    assert torch.equal(round_repairing(matrix, zeros, 0.2), (matrix.double() / 0.2).round().int())
    inputs[:, 5] = 0
    symbols = round_repairing(matrix, inputs.T @ inputs, 0.2)
    assert torch.equal(symbols[:, 5], (matrix[:, 5].double() / 0.2).round().int())


def test_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="wanted"):
        round_repairing(torch.zeros(3, 4), torch.eye(3, dtype=torch.float64), 1.0)
    with pytest.raises(ValueError, match="2\\^24 steps"):
        round_repairing(torch.ones(1, 1), torch.eye(1, dtype=torch.float64), 1e-9)


@pytest.mark.parametrize("activation", ["sine", "relu", "wire"])
def test_metrics_are_those_of_each_layers_inputs(activation: str) -> None:
    spec = default_spec(2, 3, 8, 2, activation)
    weights = {name: values.detach() for name, values in build(spec).weights().items()}
    coords = torch.rand(50, 2) * 2 - 1
    metrics = input_metrics(lambda: evaluate(spec, weights, coords))
    assert [tuple(metric.shape) for metric in metrics] == [(spec.first_inputs,) * 2, (8, 8), (8, 8), (8, 8)]
    assert all(metric.dtype == torch.float64 for metric in metrics)
    if spec.frequencies == 0:
        torch.testing.assert_close(metrics[0].float(), coords.T @ coords / 50)
    for metric in metrics:
        torch.testing.assert_close(metric, metric.T)
        assert float(torch.linalg.eigvalsh(metric).min()) > -1e-6
