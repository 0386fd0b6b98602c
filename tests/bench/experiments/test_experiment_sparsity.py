"""One long pursuit serves every s."""

import numpy as np
import pytest

from sinr3d.bench.experiments.sparsity import length_of, pursue
from sinr3d.codec.paper import paper_plans
from sinr3d.codec.tensors import SinrCode, encode_tensors
from sinr3d.encoder import FittedSignal
from sinr3d.fit.loop import FitResult
from sinr3d.inr.mlp import build
from sinr3d.inr.spec import default_spec


@pytest.mark.parametrize(("layers", "width"), [(2, 8), (2, 52)])
def test_the_first_atoms_of_a_long_pursuit_are_those_of_a_short_one(layers: int, width: int) -> None:
    spec = default_spec(2, 3, width, layers)
    weights = build(spec, 0).weights()
    pursuit = pursue(FittedSignal(spec, FitResult(weights, 0.0, 0, 0.0, False)), 256, 24)
    for sparsity in (1, 10, 24):
        ratio = (sparsity + 0.5) / length_of(width)
        wanted = encode_tensors(weights, spec, paper_plans(weights, spec, 256, ratio)).codes
        codes = pursuit.codes(sparsity)
        assert list(codes) == [f"hidden.{layer}.weight" for layer in range(layers)]
        for name, code in codes.items():
            other = wanted[name]
            assert isinstance(other, SinrCode)
            assert other.support.shape[1] == sparsity
            np.testing.assert_array_equal(code.support, other.support)
            assert code.step == pytest.approx(other.step, rel=1e-4)
            assert np.abs(code.symbols - other.symbols).max() <= 3
