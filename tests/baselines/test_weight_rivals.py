import contextlib
import itertools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinr3d.baselines import mixed, nnc, uniform, weights
from sinr3d.baselines._tensors import dequantize_symmetric, hidden_matrices, quantize_symmetric
from sinr3d.errors import (
    CorruptFileError,
    MalformedInputError,
    SinrError,
    TruncatedFileError,
    UsageError,
)

HAS_NNCODEC = nnc.why_missing() is None


def network(width: int = 32, hidden_layers: int = 2, seed: int = 0) -> weights.Weights:
    generator = torch.Generator().manual_seed(seed)
    sizes = [2] + [width] * (hidden_layers + 1) + [3]
    named = {}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        named[f"layers.{i}.weight"] = 0.1 * torch.randn(fan_out, fan_in, generator=generator)
        named[f"layers.{i}.bias"] = 0.3 * torch.rand(fan_out, generator=generator) - 0.15
    return named


def points_of_every_rival():
    return [
        pytest.param(rival, rate, id=f"{rival.name}-{rate:g}")
        for rival in weights.RIVALS
        for rate in (rival.rates[0], rival.rates[-1])
    ]


@pytest.mark.parametrize(("rival", "rate"), points_of_every_rival())
def test_bytes_alone_give_the_weights_back(rival, rate):
    if rival.missing() is not None:
        pytest.skip(rival.missing())
    original = network()
    kept = {name: tensor.clone() for name, tensor in original.items()}
    point = weights.run(rival, original, rate)

    assert list(point.weights) == list(original)
    assert point.num_bytes == len(point.data) > 0
    for name, tensor in point.weights.items():
        assert tensor.dtype == torch.float32
        assert tensor.shape == original[name].shape
        assert torch.equal(original[name], kept[name])  # the caller's tensors are left alone
    # coding the decoded weights' bytes again is deterministic
    assert rival.encode(original, rate) == point.data


def test_raw_sizes_are_exact_and_float32_is_lossless():
    original = network()
    count = sum(tensor.numel() for tensor in original.values())
    single = weights.run(weights.find("float32"), original)
    half = weights.run(weights.find("float16"), original)
    assert single.num_bytes == 4 * count
    assert half.num_bytes == 2 * count
    for name, tensor in original.items():
        assert torch.equal(single.weights[name], tensor)
        assert torch.equal(half.weights[name], tensor.half().float())


@pytest.mark.parametrize("coder", [uniform, mixed])
@pytest.mark.parametrize("bits", range(2, 17))
def test_errors_stay_within_half_a_step(coder, bits):
    original = network(width=12)
    encode, decode = (
        (uniform.encode_uniform, uniform.decode_uniform)
        if coder is uniform
        else (mixed.encode_mixed, mixed.decode_mixed)
    )
    decoded = decode(encode(original, bits), weights.shapes_of(original))
    hidden = hidden_matrices(weights.shapes_of(original))
    for name, tensor in original.items():
        depth = 12 if coder is mixed and name not in hidden else bits
        limit = float(tensor.abs().max())
        step = limit / (2 ** (depth - 1) - 1)
        assert float((decoded[name] - tensor).abs().max()) <= 0.5 * step + 1e-6 * limit


@settings(deadline=None, max_examples=40)
@given(
    bits=st.integers(2, 16),
    # below 2^-100 a 16-bit step is no longer a normal float32
    values=st.lists(
        st.floats(2.0**-100, 2.0**100, width=32)
        | st.floats(-(2.0**100), -(2.0**-100), width=32)
        | st.just(0.0),
        min_size=1,
        max_size=50,
    ),
)
def test_any_finite_values_round_trip_through_the_scalar_coders(bits, values):
    original = {"a": torch.tensor(values, dtype=torch.float32).reshape(-1, 1)}
    shapes = weights.shapes_of(original)
    limit = float(original["a"].abs().max())
    for encode, decode, depth in (
        (uniform.encode_uniform, uniform.decode_uniform, bits),
        (mixed.encode_mixed, mixed.decode_mixed, 12),  # a lone matrix is not a hidden one
    ):
        decoded = decode(encode(original, bits), shapes)["a"]
        assert torch.isfinite(decoded).all()
        assert float((decoded - original["a"]).abs().max()) <= 0.502 * limit / (2 ** (depth - 1) - 1)


@given(bits=st.integers(2, 16), scale=st.floats(1e-20, 1e20))
def test_the_symmetric_quantizer_uses_every_level_and_no_more(bits, scale):
    values = (scale * np.linspace(-1, 1, 7)).astype(np.float32)
    symbols, step = quantize_symmetric(values, bits)
    limit = 2 ** (bits - 1) - 1
    assert symbols.max() == limit
    assert symbols.min() == -limit
    assert np.abs(dequantize_symmetric(symbols, step) - values).max() <= 0.502 * step


def test_zeros_and_single_weights():
    original = {"a.weight": torch.zeros(4, 5), "a.bias": torch.zeros(1), "b.weight": torch.ones(1, 1)}
    for rival in weights.RIVALS:
        point = weights.run(rival, original)
        for name, tensor in point.weights.items():
            torch.testing.assert_close(tensor, original[name], rtol=1e-3, atol=1e-6)


def test_the_range_coder_is_close_to_the_entropy_and_beats_brotli():
    original = network(width=64, hidden_layers=3)
    symbols, _ = quantize_symmetric(original["layers.1.weight"].numpy(), 7)
    _, counts = np.unique(symbols, return_counts=True)
    entropy = -(counts * np.log2(counts / counts.sum())).sum() / 8
    hidden = {name: tensor for name, tensor in original.items() if name == "layers.1.weight"}
    # between two tiny matrices, so that the large one counts as hidden
    framed = {"first": torch.ones(1, 1), **hidden, "last": torch.ones(1, 1)}
    assert len(mixed.encode_mixed(framed, 7)) <= 1.01 * entropy + 19 + 8
    assert len(mixed.encode_mixed(framed, 7)) < len(uniform.encode_uniform(framed, 7))


@pytest.mark.parametrize("beta", [1.0, 2.0, 30.0])
def test_the_density_follows_the_shape_of_the_weights(beta):
    generator = np.random.default_rng(0)
    radius = generator.gamma(1 / beta, size=20000) ** (1 / beta)
    symbols = np.rint(20 * radius * generator.choice([-1, 1], size=20000)).astype(np.int32)
    found, _ = mixed._fit(symbols)
    assert mixed._BETAS[found] == pytest.approx(beta, rel=0.7)


@pytest.mark.parametrize("name", ["float32", "float16", "uniform16", "mixed"])
def test_truncated_bytes_are_refused_or_give_the_right_shapes(name):
    rival = weights.find(name)
    original = network(width=4, hidden_layers=1)
    shapes = weights.shapes_of(original)
    data = rival.encode(original, rival.rates[0])
    for size in range(len(data)):
        try:
            decoded = rival.decode(data[:size], shapes)
        except CorruptFileError:
            continue
        # a range coder cannot tell that its last words are missing
        assert name == "mixed"
        assert weights.shapes_of(decoded) == shapes


@pytest.mark.parametrize("name", ["float32", "uniform16", "mixed"])
def test_flipped_bits_never_crash(name):
    rival = weights.find(name)
    original = network(width=4, hidden_layers=1)
    shapes = weights.shapes_of(original)
    data = rival.encode(original, rival.rates[0])
    for position in range(0, 8 * len(data), 5):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        with contextlib.suppress(CorruptFileError):
            assert weights.shapes_of(rival.decode(bytes(damaged), shapes)) == shapes


def test_refusals():
    good = network(width=4)
    for rival in weights.RIVALS[:5]:
        for bad in ({}, {"a": torch.zeros(3, dtype=torch.float64)}, {"a": torch.zeros(0)}):
            with pytest.raises(MalformedInputError):
                rival.encode(bad, rival.rates[0])
        with pytest.raises(MalformedInputError, match="NaN"):
            rival.encode({"a": torch.tensor([1.0, float("nan")])}, rival.rates[0])
    for encode in (uniform.encode_uniform, mixed.encode_mixed):
        for bits in (1, 17, 7.5):
            with pytest.raises(UsageError):
                encode(good, bits)
    with pytest.raises(MalformedInputError, match="65504"):
        uniform.encode_float16({"a": torch.tensor([1e6])})
    with pytest.raises(UsageError, match="float32"):
        weights.find("zip")
    with pytest.raises(TruncatedFileError):
        mixed.decode_mixed(b"", weights.shapes_of(good))


def test_hidden_matrices_are_those_between_the_first_and_the_last():
    assert hidden_matrices(weights.shapes_of(network(hidden_layers=2))) == {
        "layers.1.weight",
        "layers.2.weight",
    }
    assert hidden_matrices({"a": (2, 3), "b": (3, 1)}) == frozenset()


def test_rates_run_from_fine_to_coarse():
    points = weights.run_all(network(width=48))
    by_rival = {
        rival.name: [p for p in points if p.rival == rival.name and not p.missing] for rival in weights.RIVALS
    }
    for rival in weights.RIVALS:
        sizes = [point.num_bytes for point in by_rival[rival.name]]
        assert sizes == sorted(sizes, reverse=True)
        if rival.missing() is None:
            assert [point.rate for point in by_rival[rival.name]] == list(rival.rates)
    assert [p.rival for p in points] == sorted(
        (p.rival for p in points), key=[rival.name for rival in weights.RIVALS].index
    )


def test_a_missing_package_is_a_field_and_not_a_crash(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "nncodec"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nncodec", None)
    point = weights.run(weights.find("nncodec"), network(width=4))
    assert point.num_bytes == 0
    assert point.weights == {}
    assert point.missing is not None
    assert "pip install --no-deps nncodec" in point.missing
    with pytest.raises(SinrError, match="nncodec"):
        nnc.encode_nncodec(network(width=4))


@pytest.mark.skipif(not HAS_NNCODEC, reason="nncodec is not installed")
def test_nncodec_spends_less_on_coarser_steps_and_reads_only_its_own():
    original = network(width=48)
    shapes = weights.shapes_of(original)
    fine, coarse = (nnc.encode_nncodec(original, qp) for qp in (-52, -36))
    assert len(coarse) < len(fine)
    errors = [
        max(float((nnc.decode_nncodec(data, shapes)[name] - original[name]).abs().max()) for name in original)
        for data in (fine, coarse)
    ]
    assert errors[0] < errors[1] < 0.01
    assert "nncodec.framework" not in sys.modules
    with pytest.raises(CorruptFileError):
        nnc.decode_nncodec(b"not a bitstream", shapes)
    with pytest.raises(CorruptFileError):
        nnc.decode_nncodec(fine, {**shapes, "layers.0.bias": (7,)})
    with pytest.raises(UsageError):
        nnc.encode_nncodec(original, 3)
