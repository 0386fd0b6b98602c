"""Optimizers: who gets which tensor, and the cosine schedule."""

import pytest
import torch

from sinr3d.fit.optim import OptimizerOptions, make_optimizers
from sinr3d.inr.mlp import Mlp, build
from sinr3d.inr.spec import default_spec
from sinr3d.optim import set_cosine_rate


def names_by_optimizer(network: Mlp, name: str) -> dict[str, set[str]]:
    names = {id(tensor): key for key, tensor in network.named_tensors().items()}
    return {
        type(optimizer).__name__: {names[id(p)] for group in optimizer.param_groups for p in group["params"]}
        for optimizer in make_optimizers(network, OptimizerOptions(name))
    }


def test_muon_gets_the_hidden_matrices_and_adam_the_rest():
    owners = names_by_optimizer(build(default_spec(2, 3, 8, 2, "wire")), "muon")
    assert owners["Muon"] == {f"hidden.{i}.weight{part}" for i in (0, 1) for part in ("", ".im")}
    assert owners["Adam"].isdisjoint(owners["Muon"])
    assert len(owners["Adam"]) == 2 + 2 * 2 + 4


@pytest.mark.parametrize(("name", "hidden_layers"), [("adam", 2), ("muon", 0)])
def test_adam_alone_gets_every_tensor(name: str, hidden_layers: int):
    network = build(default_spec(2, 3, 8, hidden_layers))
    assert names_by_optimizer(network, name) == {"Adam": set(network.named_tensors())}


def test_the_schedule_falls_from_the_peak_to_zero():
    optimizers = make_optimizers(build(default_spec(2, 3, 8)), OptimizerOptions("muon", 0.1, 0.4))
    expected = {0.0: 1.0, 0.5: 0.5, 1.0: 0.0, -1.0: 1.0, 1.7: 0.0}
    for progress, factor in expected.items():
        set_cosine_rate(optimizers, progress)
        rates = {type(o).__name__: o.param_groups[0]["lr"] for o in optimizers}
        assert rates == pytest.approx({"Adam": 0.4 * factor, "Muon": 0.1 * factor}, abs=1e-12)


def test_a_step_at_rate_zero_changes_nothing():
    network = build(default_spec(2, 3, 8))
    before = network.weights()
    optimizers = make_optimizers(network, OptimizerOptions())
    set_cosine_rate(optimizers, 1.0)
    network(torch.zeros(4, 2)).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in network.weights().items())


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_the_l1_norm_pulls_every_weight_to_its_origin(name: str):
    network = build(default_spec(2, 3, 8))
    origin = {key: value + 1.0 for key, value in network.weights().items()}
    for start, sign in ((None, None), (origin, -1.0)):
        options = OptimizerOptions(name, l1=0.25, origin=start)
        optimizers = make_optimizers(network, options)
        set_cosine_rate(optimizers, 1.0)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        (0.0 * network(torch.zeros(4, 2))).sum().backward()
        for optimizer in optimizers:
            optimizer.step()
        for tensor in network.named_tensors().values():
            wanted = 0.25 * (torch.sign(tensor) if sign is None else torch.full_like(tensor, sign))
            assert tensor.grad is not None
            assert torch.equal(tensor.grad, wanted)
