"""Muon: the rule of torch, on many matrices at once."""

import pytest
import torch

from sinr3d.optim import Muon, orthogonalize


def test_orthogonalized_matrices_have_singular_values_near_one():
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 8, 8), (2, 4, 9), (2, 9, 4)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape, generator=generator)))
        assert values.shape == (shape[0], min(shape[1:]))
        # Five steps leave the smallest of a square random matrix lower.
        assert values.max() < 1.3
        assert values.median() > 0.6


@pytest.mark.parametrize("stacked", [True, False])
def test_muon_takes_the_steps_of_torch(stacked: bool):
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(3, 10, 6, generator=generator)
    alone = [value.clone().requires_grad_() for value in values]
    mine = (
        [values.clone().requires_grad_()] if stacked else [value.clone().requires_grad_() for value in values]
    )
    theirs = torch.optim.Muon(alone, lr=0.1, momentum=0.95, weight_decay=0.0)
    ours = Muon(mine, lr=0.1)
    for _ in range(3):
        gradients = torch.randn(values.shape, generator=generator)
        for value, gradient in zip(alone, gradients, strict=True):
            value.grad = gradient.clone()
        for value, gradient in zip(mine, [gradients] if stacked else gradients, strict=True):
            value.grad = gradient.clone()
        theirs.step()
        ours.step()
    # torch's products are in bfloat16
    moved = (torch.stack(alone) - values).detach()
    got = (mine[0] if stacked else torch.stack(mine)) - values
    torch.testing.assert_close(got.detach(), moved, rtol=0.1, atol=0.01)


def test_muon_skips_what_has_no_gradient_and_takes_shapes_apart():
    generator = torch.Generator().manual_seed(2)
    shapes = [(4, 4), (6, 4), (4, 4), (2, 6, 4)]
    values = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    before = [value.detach().clone() for value in values]
    alone = [value.detach().clone().requires_grad_() for value in values]
    for value, other in zip(values[1:], alone[1:], strict=True):
        value.grad = torch.randn(value.shape, generator=generator)
        other.grad = value.grad.clone()
    Muon(values, lr=0.1).step()
    for other in alone:
        Muon([other], lr=0.1).step()
    assert torch.equal(values[0], before[0])
    for value, other in zip(values, alone, strict=True):
        torch.testing.assert_close(value, other)
