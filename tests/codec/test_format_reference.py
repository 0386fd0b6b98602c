"""A second reader, written from FORMAT.md alone: no constriction, nothing of sinr3d but files under test."""

import struct
import zlib
from statistics import NormalDist
from typing import Any

import brotli
import numpy as np
import pytest
import tiny_files
import torch

from sinr3d.codec.pipeline import compress, decompress
from sinr3d.codec.tensors import DensePlan, Plan, SinrPlan
from sinr3d.field import Field
from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.spec import InrSpec, default_spec, tensor_shapes
from sinr3d.modalities import image

# --- The reader, by section of FORMAT.md -------------------------------------------------------------------


class RefusedError(Exception):
    """The file breaks a rule of FORMAT.md."""


def refuse_unless(holds: bool) -> None:
    if not holds:
        raise RefusedError


class Cursor:
    """Section 1."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        refuse_unless(self.at + count <= len(self.data))
        self.at += count
        return self.data[self.at - count : self.at]

    def u8(self) -> int:
        return self.take(1)[0]

    def f32(self) -> float:
        return struct.unpack("<f", self.take(4))[0]

    def varint(self) -> int:
        value = place = 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << (7 * place)
            place += 1
            if byte < 128:
                refuse_unless(byte > 0 or place == 1)
                return value
            refuse_unless(place < 5)

    def signed(self) -> int:
        z = self.varint()
        return z // 2 if z % 2 == 0 else -(z + 1) // 2


def read_sections(data: bytes) -> dict[int, bytes]:
    """Section 2."""
    cursor = Cursor(data)
    refuse_unless(cursor.take(4).hex() == "89534e52" and cursor.u8() == 1 and cursor.varint() == 0)
    sections: dict[int, bytes] = {}
    for _ in range(cursor.u8()):
        start = cursor.at
        tag = cursor.u8()
        payload = cursor.take(cursor.varint())
        crc = zlib.crc32(data[start : cursor.at])
        refuse_unless(cursor.take(4) == struct.pack("<I", crc) and all(tag > other for other in sections))
        sections[tag] = payload
    refuse_unless(cursor.at == len(data))
    return sections


def read_network(data: bytes) -> dict[str, Any]:
    """Section 3."""
    cursor = Cursor(data)
    d, c, activation, octaves = (cursor.u8() for _ in range(4))
    m, h = cursor.varint(), cursor.varint()
    omegas = cursor.f32(), cursor.f32()
    sigma = cursor.f32() if activation == 3 else 0.0
    refuse_unless(cursor.at == len(data))
    return {
        "d": d,
        "c": c,
        "activation": activation,
        "L": octaves,
        "m": m,
        "h": h,
        "omegas": omegas,
        "sigma": sigma,
    }


def list_tensors(net: dict[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    """Section 3.2."""
    m = net["m"]
    tensors: list[tuple[str, tuple[int, ...]]] = [
        ("first.weight", (m, net["d"] * (1 + 2 * net["L"]))),
        ("first.bias", (m,)),
    ]
    for name, rows in [(f"hidden.{i}", m) for i in range(net["h"])] + [("last", net["c"])]:
        for kind, shape in (("weight", (rows, m)), ("bias", (rows,))):
            tensors.append((f"{name}.{kind}", shape))
            if net["activation"] == 3:
                tensors.append((f"{name}.{kind}.im", shape))
    return tensors


def read_domain(data: bytes) -> dict[str, Any]:
    """Section 4."""
    cursor = Cursor(data)
    if cursor.u8() == 1:
        out: dict[str, Any] = {"width": cursor.varint(), "height": cursor.varint(), "channels": cursor.u8()}
        out["bits"], out["space"] = cursor.u8(), cursor.u8()
    else:
        scale = cursor.f32()
        out = {"scale": scale, "extent": tuple(cursor.f32() for _ in range(3)), "iso": cursor.f32()}
        quantum = 2.0**-200
        while quantum * 2 <= scale / 128:
            quantum *= 2
        out["center"] = tuple(cursor.signed() * quantum for _ in range(3))
        out["units"] = cursor.take(cursor.u8()).decode("utf-8")
    refuse_unless(cursor.at == len(data))
    return out


def philox(counter: tuple[int, int], key: tuple[int, int]) -> list[int]:
    """Section 6."""
    (c0, c1, c2, c3), (k0, k1) = (*counter, 0, 0), key
    for _ in range(10):
        one, two = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (two >> 32) ^ c1 ^ k0, two % 2**32, (one >> 32) ^ c3 ^ k1, one % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return [c0, c1, c2, c3]


UPPER = [round(4096 * NormalDist().inv_cdf((u + 0.5) / 65536)) for u in range(32768, 65536)]
GAUSSIAN = [-value for value in reversed(UPPER)] + UPPER


def make_atom(length: int, index: int, seed: int) -> list[int]:
    values: list[int] = []
    for b in range(-(-length // 8)):
        for word in philox((b, index), (seed % 2**32, seed // 2**32)):
            values += [GAUSSIAN[word % 65536], GAUSSIAN[word // 65536]]
    return values[:length]


EMPTY_BROTLI: bytes = brotli.compress(b"")


class RangeReader:
    """Sections 7.1 to 7.4."""

    def __init__(self, data: bytes) -> None:
        data += bytes(-len(data) % 4)
        self.words = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]
        self.range = 2**64 - 1
        self.point = self._next() << 32 | self._next()
        self.models: dict[tuple, tuple[int, int]] = {}
        self.started = False

    def _next(self) -> int:
        return self.words.pop(0) if self.words else 0

    def decode(self, ones: int) -> int:
        scale = self.range >> 24
        b = 1 + (((65536 - ones) * (2**24 - 2)) >> 16)
        refuse_unless(self.point < scale << 24)
        if self.point < scale * b:
            value, self.range = 0, scale * b
        else:
            value, self.range = 1, scale * (2**24 - b)
            self.point -= scale * b
        if self.range < 2**32:
            self.range <<= 32
            self.point = self.point << 32 | self._next()
        self.started = True
        return value

    def raw(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = 2 * value + self.decode(32768)
        return value

    def bit(self, *context: object) -> int:
        ones, count = self.models.get(context, (32768, 0))
        value = self.decode(ones)
        ones += ((value * 65536 - ones) * (327680 // (5 * count + 8))) >> 16
        self.models[context] = min(max(ones, 32), 65504), min(count + 1, 255)
        return value

    def magnitude(self, scale: int) -> int:
        length = scale.bit_length()
        shift = max(0, length - 6)
        half = (scale >> (length - 2)) & 1 if length > 1 else 0
        context = min(length, 6), half
        e = 0
        while self.bit("exponent", context, e):
            e += 1
            refuse_unless(e < 26)
        upper, prefix = min(e, 1), 1
        for _ in range(min(2, max(0, e - 1))):
            v = self.bit("mantissa", context, e, prefix)
            prefix, upper = 2 * prefix + v, 2 * upper + v
        rest = max(0, e - 3)
        upper = upper << rest | self.raw(rest)
        return upper << shift | self.raw(shift)

    def symbols(self, rows: int, width: int) -> list[list[int]]:
        overall, matrix = 256, []
        column: list[int | None] = [None] * width
        for _ in range(rows):
            running, row = overall, []
            for i in range(width):
                known = column[i]
                above = running if known is None else known
                a = self.magnitude((running + above) >> 1)
                refuse_unless(a < 2**24)
                row.append(-a if a and self.bit("sign") else a)
                running += (16 * a - running) >> 3
                overall += (16 * a - overall) >> 6
                column[i] = 16 * a if known is None else above + ((16 * a - above) >> 4)
            matrix.append(row)
        return matrix

    def support(self, sparsity: int, num_atoms: int) -> list[int]:
        position, support = 0, []
        for k in range(sparsity):
            left = sparsity - k
            unused = num_atoms - position - left
            gap = self.magnitude(16 * unused // (left + 1))
            refuse_unless(gap <= unused)
            support.append(position + gap)
            position += gap + 1
        return support

    def finish(self) -> None:
        refuse_unless(not self.started or (self.point < 2**33 - 1 and not any(self.words)))


class BrotliReader:
    """Section 8, with the methods of a RangeReader."""

    def __init__(self, data: bytes, kind: str) -> None:
        width = data[0] if kind == "values" else 2
        plain = brotli.decompress(data[1:] if kind == "values" else data)
        count = len(plain) // width
        planes = [plain[count * place : count * (place + 1)] for place in range(width)]
        self.values = [
            sum(byte << (8 * place) for place, byte in enumerate(b)) for b in zip(*planes, strict=True)
        ]

    def symbols(self, rows: int, width: int) -> list[list[int]]:
        zigzag = [[self.values.pop(0) for _ in range(width)] for _ in range(rows)]
        return [[-(z + 1) // 2 if z % 2 else z // 2 for z in row] for row in zigzag]

    def support(self, sparsity: int, num_atoms: int) -> list[int]:
        support: list[int] = []
        for _ in range(sparsity):
            support.append((support[-1] + 1 if support else 0) + self.values.pop(0))
        refuse_unless(support[-1] < num_atoms)
        return support

    def finish(self) -> None:
        refuse_unless(not self.values)


def read_weights(sections: dict[int, bytes], net: dict[str, Any]) -> dict[str, np.ndarray]:
    """Section 5."""
    cursor = Cursor(sections[3])
    coder = cursor.u8()
    seed = cursor.varint() if 5 in sections else 0
    tensors = list_tensors(net)
    methods = cursor.take(-(-len(tensors) // 8))
    heads = []
    for t in range(len(tensors)):
        step = struct.unpack("<f", b"\0\0" + cursor.take(2))[0]
        sparse = methods[t // 8] >> (t % 8) & 1
        heads.append((step, cursor.varint(), cursor.varint()) if sparse else (step, 0, 0))
    refuse_unless(cursor.at == len(cursor.data))
    if coder == 1:
        values, supports = RangeReader(sections[4]), RangeReader(sections.get(5, b""))
    else:
        values = BrotliReader(sections[4], "values")
        supports = BrotliReader(sections.get(5, EMPTY_BROTLI), "supports")
    weights = {}
    for (name, shape), (step, num_atoms, sparsity) in zip(tensors, heads, strict=True):
        if num_atoms == 0:
            rows = shape[0] if len(shape) == 2 else 1
            symbols = np.array(values.symbols(rows, shape[-1]), np.float64).reshape(shape)
            weights[name] = (symbols * step).astype(np.float32)
            continue
        tiny, by_columns = net["m"] < 50, shape[0] == net["m"]
        k1 = shape[0] * shape[1] if tiny else net["m"]
        n = shape[0] * shape[1] // k1
        vectors = np.empty((n, k1), np.float32)
        for v, row in enumerate(values.symbols(n, sparsity)):
            total = [0] * k1
            for q, j in zip(row, supports.support(sparsity, num_atoms), strict=True):
                total = [a + q * b for a, b in zip(total, make_atom(k1, j, seed), strict=True)]
            vectors[v] = np.array(total, np.float64) * (step * 2.0**-12)
        weights[name] = vectors.reshape(shape) if tiny or not by_columns else vectors.T
    values.finish()
    supports.finish()
    return weights


def run_network(net: dict[str, Any], weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Section 3.1, in float64."""

    def linear(name: str, v: np.ndarray) -> np.ndarray:
        parts = [weights[f"{name}.{kind}"].astype(complex) for kind in ("weight", "bias")]
        if f"{name}.weight.im" in weights:
            parts[0] = parts[0] + 1j * weights[f"{name}.weight.im"]
            parts[1] = parts[1] + 1j * weights[f"{name}.bias.im"]
        return v @ parts[0].T + parts[1]

    e = x.astype(np.float64)
    if net["L"]:
        angles = (np.pi * x[:, :, None] * 2.0 ** np.arange(net["L"])).reshape(len(x), -1)
        e = np.concatenate([e, np.sin(angles), np.cos(angles)], axis=1)
    for layer in range(net["h"] + 1):
        z = linear("first" if layer == 0 else f"hidden.{layer - 1}", e)
        omega = net["omegas"][min(layer, 1)]
        e = {
            1: lambda z=z, w=omega: np.sin(w * np.real(z)),
            2: lambda z=z, w=omega: np.exp(-((w * np.real(z)) ** 2) / 2),
            3: lambda z=z, w=omega: np.exp(1j * w * z) * np.exp(-(np.abs(net["sigma"] * z) ** 2)),
            4: lambda z=z: np.maximum(np.real(z), 0),
        }[net["activation"]]()
    return np.real(linear("last", e))


def read_file(data: bytes) -> tuple[dict[str, Any], dict[str, Any], dict[str, np.ndarray]]:
    sections = read_sections(data)
    net = read_network(sections[1])
    return net, read_domain(sections[2]), read_weights(sections, net)


# --- The tests ---------------------------------------------------------------------------------------------


def check(data: bytes) -> None:
    net, domain, weights = read_file(data)
    contents = decompress(data)
    assert list(weights) == list(contents.weights)
    for name, values in contents.weights.items():
        assert weights[name].tobytes() == values.numpy().tobytes(), name
    for name in ("width", "height", "channels", "bits", "scale", "extent", "iso", "center", "units"):
        assert domain.get(name) == getattr(contents.domain, name, None), name
    coords = np.linspace(-1, 1, 6 * net["d"]).reshape(6, -1)
    assert isinstance(contents.spec, InrSpec)
    ours = evaluate(contents.spec, contents.weights, torch.from_numpy(coords).float()).numpy()
    scale = np.abs(ours).max() + 1
    # The phase is float32 on our side: its error grows with omega times the size of the weights.
    if max(np.abs(v).max() for v in weights.values()) < 2:
        np.testing.assert_allclose(run_network(net, weights, coords), ours, atol=5e-3 * scale)


@pytest.mark.parametrize("file", tiny_files.FILES + tiny_files.LARGE_FILES, ids=lambda file: file.name)
def test_fixed_files(file: tiny_files.TinyFile) -> None:
    check(file.data())


@pytest.mark.parametrize("activation", ["sine", "gauss", "wire", "relu"])
@pytest.mark.parametrize("coder", ["range", "brotli"])
@pytest.mark.parametrize("width", [7, 52])
@pytest.mark.parametrize("method", ["dense", "sparse"])
def test_compressed_networks(activation: str, coder: str, width: int, method: str) -> None:
    spec = default_spec(3, 1, width, 1, activation)
    weights = build(spec, seed=5).weights()
    plans: dict[str, Plan] = {t.name: DensePlan(2.0**-9) for t in tensor_shapes(spec)}
    if method == "sparse":
        plans |= {t.name: SinrPlan(500, 9) for t in tensor_shapes(spec) if t.role == "hidden"}
    check(compress(weights, spec, tiny_files.SHAPE, plans, coder=coder, seed=4_000_000_000))


def test_philox_and_table_vectors() -> None:
    assert philox((0, 0), (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert zlib.crc32(np.array(GAUSSIAN, "<i2").tobytes()) == 0x546C8CB1
    assert make_atom(10, 65535, 0) == [-11276, 5349, 5359, 2770, -877, 2697, 6151, 2172, -5371, 1517]


def test_pixels_of_an_image() -> None:
    data = tiny_files.FILES[-1].data()
    net, domain, weights = read_file(data)
    i, j = np.meshgrid(np.arange(domain["width"]), np.arange(domain["height"]))
    x = (2 * i + 1) / domain["width"] - 1
    y = (2 * j + 1) / domain["height"] - 1
    values = run_network(net, weights, np.stack([x.ravel(), y.ravel()], axis=1))
    peak = 2 ** domain["bits"] - 1
    pixels = np.clip(np.rint((values + 1) * peak / 2), 0, peak).reshape(4, 5, 3)
    ours = image.decode(Field(decompress(data)).evaluate, tiny_files.IMAGE)
    assert np.abs(ours - pixels).max() <= 1
    assert np.mean(ours == pixels) > 0.9


def test_a_file_that_goes_on_after_its_last_symbol_is_refused() -> None:
    reader = RangeReader(b"\1\2\3\4\5\6\7\x08\t")
    reader.bit("x")
    with pytest.raises(RefusedError):
        reader.finish()
