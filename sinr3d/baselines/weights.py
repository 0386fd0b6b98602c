"""Rivals that code the same trained network: one contract, real bytes, a fixed order.

    weights --encode--> bytes --decode, given names and shapes--> weights

Every rival is told the names and shapes of the tensors and none counts them. What else its decoder needs (bit
depths, steps, densities) is in its bytes. None retrains the network.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sinr3d.baselines import mixed, nnc, uniform
from sinr3d.baselines._tensors import Shapes, Weights, shapes_of
from sinr3d.errors import UsageError

__all__ = [
    "RIVALS",
    "CodedWeights",
    "Shapes",
    "WeightRival",
    "Weights",
    "find",
    "run",
    "run_all",
    "shapes_of",
]


def _always() -> str | None:
    return None


@dataclass(frozen=True)
class WeightRival:
    """One way of coding weights.

    Attributes:
        name: its id, for tables and options.
        label: its name in a figure.
        encode: (weights, rate) -> bytes.
        decode: (bytes, shapes) -> weights.
        rates: the rates that draw its curve, from fine to coarse; one alone where there is no choice.
        rate_name: what a rate counts, "bits" (a weight, before entropy coding) or "qp".
        missing: None where it can run, otherwise one line with the reason and the remedy.
    """

    name: str
    label: str
    encode: Callable[[Weights, float], bytes]
    decode: Callable[[bytes, Shapes], Weights]
    rates: tuple[float, ...]
    rate_name: str = "bits"
    missing: Callable[[], str | None] = _always


@dataclass(frozen=True)
class CodedWeights:
    """One point of a rival's curve.

    Attributes:
        rival: the rival's id.
        rate: the rate that was asked for.
        data: the bytes, all of them counted; empty where the rival could not run.
        weights: the decoded weights; empty where the rival could not run.
        missing: why the rival could not run, or None.
    """

    rival: str
    rate: float
    data: bytes
    weights: Weights
    missing: str | None = None

    @property
    def num_bytes(self) -> int:
        """Size in bytes."""
        return len(self.data)


_QPS = (-52.0, -48.0, -44.0, -42.0, -40.0, -38.0, -36.0, -32.0)

RIVALS = (
    WeightRival("float32", "float32", uniform.encode_float32, uniform.decode_float32, (32,)),
    WeightRival("float16", "float16 (COIN)", uniform.encode_float16, uniform.decode_float16, (16,)),
    WeightRival("uniform16", "16 bit + Brotli", uniform.encode_uniform, uniform.decode_uniform, (16,)),
    WeightRival(
        "uniform",
        "b bit + Brotli",
        uniform.encode_uniform,
        uniform.decode_uniform,
        (14, 12, 11, 10, 9, 8, 7, 6),
    ),
    WeightRival(
        "mixed",
        "mixed precision + range coder",
        mixed.encode_mixed,
        mixed.decode_mixed,
        (10, 9, 8, 7, 6, 5, 4),
    ),
    WeightRival("nncodec", "NNCodec", nnc.encode_nncodec, nnc.decode_nncodec, _QPS, "qp", nnc.why_missing),
    WeightRival(
        "nncodec-mixed",
        "NNCodec, mixed precision",
        nnc.encode_nncodec_mixed,
        nnc.decode_nncodec,
        _QPS,
        "qp",
        nnc.why_missing,
    ),
)
"""All rivals, weakest first; the order of every table."""


def find(name: str) -> WeightRival:
    """Returns the rival of that name; an unknown one is a `UsageError` that lists them."""
    for rival in RIVALS:
        if rival.name == name:
            return rival
    raise UsageError(f"no rival is called {name!r}; there are {', '.join(rival.name for rival in RIVALS)}")


def run(rival: WeightRival, weights: Weights, rate: float | None = None) -> CodedWeights:
    """Codes the weights and decodes them again from the bytes alone.

    Args:
        rival: one of `RIVALS`.
        weights: float32 tensors, unchanged by this.
        rate: the rate, or None for the rival's first.

    Returns:
        The bytes and the decoded weights; with `missing` set, and both empty, where the rival cannot run.

    Raises:
        UsageError: a rate that the rival does not have.
        MalformedInputError: weights that are empty, not float32, or not finite.
    """
    rate = rival.rates[0] if rate is None else rate
    missing = rival.missing()
    if missing is not None:
        return CodedWeights(rival.name, rate, b"", {}, missing)
    data = rival.encode(weights, rate)
    return CodedWeights(rival.name, rate, data, rival.decode(data, shapes_of(weights)))


def run_all(weights: Weights) -> list[CodedWeights]:
    """Runs every rival at every rate of its curve, in order; one entry alone for a rival that cannot run."""
    points = []
    for rival in RIVALS:
        rates = rival.rates if rival.missing() is None else rival.rates[:1]
        points.extend(run(rival, weights, rate) for rate in rates)
    return points
