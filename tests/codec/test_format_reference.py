"""A second reader, written from FORMAT.md alone: no constriction, nothing of sinr3d but files under test."""

import functools
import hashlib
import itertools
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from statistics import NormalDist
from typing import Any

import brotli
import numpy as np
import pytest
import tiny_files
import torch

from sinr3d.codec.container import unpack_container
from sinr3d.codec.pipeline import compress, decompress
from sinr3d.codec.prior import Prior, pack_prior, save_prior
from sinr3d.codec.tensors import DensePlan, Plan, SinrPlan, TrellisPlan
from sinr3d.field import Field
from sinr3d.inr.mlp import build, evaluate
from sinr3d.inr.spec import GridSpec, InrSpec, ModulatedSpec, default_spec, tensor_shapes
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


def read_sections(data: bytes) -> tuple[int, dict[int, bytes], list[bytes], bool]:
    """Section 2: the features, the payloads by tag, the refinements that are there, whether those are all."""
    cursor = Cursor(data)
    refuse_unless(cursor.take(4).hex() == "89534e52" and cursor.u8() == 1)
    features = cursor.varint()
    refuse_unless(features < 64 and features & 6 != 4)
    refuse_unless(features & 49 in (0, 1, 16, 32) and features & 9 != 9 and features & 40 != 32)
    count, sizes = cursor.u8(), []
    if features & 4:
        sizes = [cursor.varint() for _ in range(cursor.u8())]
        refuse_unless(1 <= len(sizes) <= 8)
    sections: dict[int, bytes] = {}
    for _ in range(count):
        start = cursor.at
        tag = cursor.u8()
        payload = cursor.take(cursor.varint())
        if features & 2 == 0:
            refuse_unless(struct.pack("<I", zlib.crc32(data[start : cursor.at])) == cursor.take(4))
        refuse_unless(all(tag > other for other in sections))
        sections[tag] = payload
    refuse_unless((7 in sections) == (features & 8 > 0))
    if features & 2:
        refuse_unless(struct.pack("<I", zlib.crc32(data[: cursor.at])) == cursor.take(4))
    refinements = []
    for size in sizes:
        if cursor.at + size + 4 > len(data):
            return features, sections, refinements, False
        refinements.append(cursor.take(size))
        refuse_unless(struct.pack("<I", zlib.crc32(data[: cursor.at])) == cursor.take(4))
    refuse_unless(cursor.at == len(data))
    return features, sections, refinements, True


def read_networks(data: bytes, features: int) -> dict[str, dict[str, Any]]:
    """Section 3: the networks by the prefix of their tensors."""
    cursor = Cursor(data)
    if features & 33 == 0:
        networks = {"": read_network(cursor)}
        if features & 16:
            networks[""] |= read_grid(cursor, networks[""])
            refuse_unless(len(networks[""]["levels"]) > 0)
    elif features & 32:
        base = read_network(cursor)
        sizes = [cursor.varint() for _ in range(4)]
        refuse_unless(base["activation"] != 3 and 1 <= sizes[0] <= 4096 and min(sizes[2:]) >= 1)
        refuse_unless(max(sizes) <= 65536)
        networks = {"": {**base, "latents": dict(zip(("size", "a", "rows", "columns"), sizes, strict=True))}}
    else:
        networks = {}
        for number in range(1, cursor.u8() + 1):
            refuse_unless(cursor.u8() == number)
            role = ["field", "color"][number - 1] if number < 3 else f"proposal.{number - 3}"
            network = read_network(cursor)
            networks[f"{role}/"] = {**network, **read_grid(cursor, network)}
            refuse_unless(not networks[f"{role}/"]["levels"] or network["d"] == 3)
    refuse_unless(cursor.at == len(data))
    return networks


def read_grid(cursor: Cursor, net: dict[str, Any]) -> dict[str, Any]:
    """Section 3.3."""
    levels, d = cursor.u8(), net["d"]
    if levels == 0:
        return {"levels": []}
    refuse_unless(d in (2, 3) and net["L"] == 0)
    layout, features, log2 = (cursor.u8() for _ in range(3))
    refuse_unless(layout in (1, 2))
    found = []
    for _ in range(levels):
        scale = cursor.f32()
        points = math.ceil(scale) + 1
        size = 2**log2 if layout == 1 else min((points**d + 7) // 8 * 8, 2**log2)
        hashed = layout == 1 or points**d > size
        found.append({"S": scale, "R": points, "entries": size, "hashed": hashed, "d": d})
    return {"levels": found, "F": features, "layout": layout}


def entry_of(level: dict[str, Any], a: int, b: int, c: int = 0) -> int:
    if level["hashed"]:
        return (a ^ 2654435761 * b ^ 805459861 * c) % level["entries"]
    return (a + level["R"] * b + level["R"] ** 2 * c) % level["entries"]


def read_network(cursor: Cursor) -> dict[str, Any]:
    """Section 3.1."""
    d, c, activation, octaves = (cursor.u8() for _ in range(4))
    m, h = cursor.varint(), cursor.varint()
    omegas = cursor.f32(), cursor.f32()
    sigma = cursor.f32() if activation == 3 else 0.0
    return {
        "levels": [],
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
    """Section 3.4."""
    if "latents" in net:
        sizes = net["latents"]
        return [("latents", (sizes["rows"] * sizes["columns"], sizes["size"]))]
    m = net["m"]
    tensors: list[tuple[str, tuple[int, ...]]] = [
        (f"grid.{i}", (level["entries"], net["F"])) for i, level in enumerate(net["levels"])
    ]
    inputs = len(net["levels"]) * net["F"] if net["levels"] else net["d"] * (1 + 2 * net["L"])
    tensors += [("first.weight", (m, inputs)), ("first.bias", (m,))]
    for name, rows in [(f"hidden.{i}", m) for i in range(net["h"])] + [("last", net["c"])]:
        for kind, shape in (("weight", (rows, m)), ("bias", (rows,))):
            tensors.append((f"{name}.{kind}", shape))
            if net["activation"] == 3:
                tensors.append((f"{name}.{kind}.im", shape))
    return tensors


def read_domain(data: bytes) -> dict[str, Any]:
    """Section 4."""
    cursor = Cursor(data)
    kind = cursor.u8()
    if kind == 3:
        out = read_scene(cursor)
    elif kind == 1:
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


def read_scene(cursor: Cursor) -> dict[str, Any]:
    """Section 4.3."""

    def floats(count: int) -> tuple[float, ...]:
        return tuple(cursor.f32() for _ in range(count))

    flags = cursor.u8()
    refuse_unless(flags < 8)
    out: dict[str, Any] = {"contraction": ["none", "linf", "l2"][cursor.u8()]}
    out["bounds"] = ["box", "range"][cursor.u8()]
    out["spacing"] = ["uniform", "piecewise"][cursor.u8()]
    out["direction"] = ["", "sh", "sh_half"][cursor.u8()]
    out["direction_levels"] = cursor.u8()
    out["background"] = ["color", "last_sample"][cursor.u8()]
    out["box"] = floats(6)
    out["near"], out["far"], out["density_scale"] = floats(3)
    out["color"] = floats(3)
    out["samples"] = tuple(cursor.varint() for _ in range(cursor.u8()))
    out["transform"] = floats(12) if flags & 1 else (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    out["scale"] = floats(1)[0] if flags & 2 else 1.0
    out["views"] = None
    if flags & 4:
        size = cursor.varint(), cursor.varint()
        out["views"] = (*size, floats(2), floats(2), tuple(floats(12) for _ in range(cursor.u8())))
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
    """Sections 7.1 to 7.4, and tokens."""

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

    def token(self, frequencies: list[int]) -> int:
        """Section 9.2: the number of a token."""
        scale, size, below = self.range >> 24, len(frequencies), 0
        refuse_unless(self.point < scale << 24)
        edges = [0]
        for index, frequency in enumerate(frequencies, start=1):
            below += frequency
            edges.append((below * (2**24 - size) >> 16) + index)
        refuse_unless(below == 65536 and edges[-1] == 2**24)
        index = next(i for i in range(size) if self.point < scale * edges[i + 1])
        self.point -= scale * edges[index]
        self.range = scale * (edges[index + 1] - edges[index])
        if self.range < 2**32:
            self.range <<= 32
            self.point = self.point << 32 | self._next()
        self.started = True
        return index

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


NORMAL = NormalDist()


def law_tail(law: int, x: float) -> float:
    """Section 7.6: P(X > x)."""
    phi = NORMAL.cdf
    if law < 3:
        s, a = [(0.03, 0.5005), (0.15, 0.5113), (0.35, 0.5613)][law]
        high, low = (z * phi(z) + NORMAL.pdf(z) for z in ((a * x + 1) / s, (a * x - 1) / s))
        return 1 - (high - low) * s / 2
    if law == 7:
        return math.exp(-x) / 2
    s, a = [(0, 0.7979), (0.4, 0.8291), (0.7, 0.8975), (1.1, 1.0656)][law - 3]
    w = 2 ** (s * math.sqrt(3))
    return (phi(-a * x * w) + 4 * phi(-a * x) + phi(-a * x / w)) / 6


TAILS = [[round(2**24 * law_tail(law, k / 32)) for k in range(384)] + [0] for law in range(8)]
RHO = (62757, 57549, 52773, 48393, 44376, 40693, 37316, 34219)


def scale_class(scale: int) -> int:
    """Section 7.5."""
    e = scale.bit_length() - 1
    return 8 * e + sum(bound <= scale * 128 >> e for bound in (140, 153, 166, 182, 198, 216, 235))


def tail_at(law: int, g: int, h: int) -> int:
    """Section 7.7."""
    e, f = divmod(g, 8)
    p = h * RHO[f] << 7 - e if e <= 7 else h * RHO[f] >> e - 7
    k = min(p >> 16, 383)
    t = TAILS[law]
    return t[k] - ((t[k] - t[k + 1]) * min(p - (k << 16), 65536) >> 16)


def edge(kind: str, g: int, q: int) -> int:
    """Section 7.7, cells."""
    if kind == "plain":
        return 16 * q - 8
    first, less = {"even": [(16, 14), (12, 19)], "odd": [(7, 28), (9, 29)]}[kind][g >= 48]
    return first if q == 1 else 32 * q - less


@functools.cache
def mean_at(law: int, g: int, kind: str) -> int:
    value = {"plain": lambda q: q, "even": lambda q: 2 * q, "odd": lambda q: 2 * q - (q > 0)}[kind]
    return 2 * sum((value(q) - value(q - 1)) * tail_at(law, g, edge(kind, g, q)) for q in range(1, 256))


def both_means(law: int, g: int, kind: str) -> int:
    if kind == "plain":
        return mean_at(law, g, kind)
    return (mean_at(law, g, "even") + mean_at(law, g, "odd")) // 2


@functools.cache
def small_scale(law: int, g: int, kind: str) -> int:
    """Section 7.7, small scales."""
    wanted = 2 ** (g // 8 + 40) // (64 * RHO[g % 8])
    while g < 64 and both_means(law, g, kind) + both_means(law, g + 1, kind) < 2 * wanted:
        g += 1
    return g


@functools.cache
def law_model(law: int, g: int, kind: str, d: int = 0) -> tuple[int, int, list[int]]:
    """Sections 7.7 and 7.8: shift, first and the frequencies."""
    if kind != "gaps":
        g = small_scale(law, g, kind)
    e = max(0, g // 8 - d)
    shift = max(0, e - (9 if kind in ("plain", "gaps") else 10))
    most = 8 + 2 ** (3 + max(0, e - 5 - shift))
    first = 0 if kind == "gaps" else -most
    size = most - first + 3

    def below(q: int) -> int:
        if kind == "gaps":
            return 2**24 - 2 * tail_at(law, g, 16 * q)
        if q > 0:
            return 2**24 - tail_at(law, g, edge(kind, g, q << d))
        return tail_at(law, g, edge(kind, g, 1 - q << d))

    mass = [0, *(below(first + i - 1 << shift) for i in range(1, size)), 2**24]
    edges = [(m * (65536 - size) >> 24) + i for i, m in enumerate(mass)]
    return shift, first, [b - a for a, b in itertools.pairwise(edges)]


class Trellis:
    """Section 5.3."""

    def __init__(self) -> None:
        self.state = 0

    def odd(self) -> bool:
        return bin(self.state & 26).count("1") % 2 == 1

    def step(self, k: int) -> int:
        """What a symbol stands for; goes on to the next."""
        r = 2 * k - ((k > 0) - (k < 0)) * self.odd()
        self.state = (self.state >> 1) + 16 * (k % 2 ^ bin(self.state & 17).count("1") % 2)
        return r


def trellis_integers(matrix: list[list[int]]) -> list[list[int]]:
    trellis, result = Trellis(), []
    for i, row in enumerate(matrix):
        if i % max(1, 256 // len(row)) == 0:
            trellis.state = 0
        result.append([trellis.step(k) for k in row])
    return result


class LawsReader(RangeReader):
    """Section 7.5."""

    def read(self, law: int, g: int, kind: str = "plain", d: int = 0) -> int:
        shift, first, frequencies = law_model(law, g, kind, d)
        token = self.token(frequencies)
        u = first + token - 1
        if token in (0, len(frequencies) - 1):
            n = 0
            while self.raw(1):
                n += 1
                refuse_unless(n < 26)
            beyond = 2**n + self.raw(n) - 1
            u += beyond if token else -beyond
        return (u << shift) + self.raw(shift)

    def symbols(
        self, rows: int, width: int, *, trellis: bool = False, layered: bool = False
    ) -> list[list[int]]:
        law, z = self.raw(3), self.raw(7)
        start = min((64, 76, 91, 108)[z % 4] * 2 ** (z // 4) // 64, 2**30 - 1)
        r = c = 0
        if rows > 1:
            r, c = (0, 2, 6, 20)[self.raw(2)], (0, 8, 24, 72)[self.raw(2)]
        elif self.raw(1):
            refuse_unless(not trellis)
            row = [self.read(law, scale_class(start))]
            while len(row) < width:
                row.append(row[-1] + self.read(law, scale_class(start), "gaps"))
            refuse_unless(all(abs(symbol) < 2**24 for symbol in row))
            return [row]
        d = self.raw(4) if layered else 0
        self.settings = {"law": law, "start": start, "r": r, "c": c, "d": d}

        def put(g: int, i: int, j: int, kind: str) -> int:
            symbol = self.read(law, g, kind, d)
            refuse_unless(abs(symbol) < 2 ** (24 - d))
            return symbol

        return walk_matrix(rows, width, self.settings, put, trellis=trellis)


def walk_matrix(
    rows: int, width: int, settings: dict[str, int], put: Callable[..., int], *, trellis: bool = False
) -> list[list[int]]:
    """Sections 7.5 and 7.8: symbols by the classes of their scales."""
    start, r, c, d = (settings[name] for name in ("start", "r", "c", "d"))
    matrix: list[list[int]] = []
    sizes: list[list[int]] = []  # times 64
    machine = Trellis()
    for i in range(rows):
        common = max((64 * start + sum(map(sum, sizes))) // (64 + width * i), 1)
        matrix.append([])
        sizes.append([])
        if i % max(1, 256 // width) == 0:
            machine.state = 0
        for j in range(width):
            scale = (r * common + sum(sizes[i])) // (r + j) if r else common
            if c:
                column = sum(above[j] for above in sizes[:i])
                scale = scale * ((c * common + column) // (c + i)) // common
            kind = ("odd" if machine.odd() else "even") if trellis else "plain"
            symbol = put(scale_class(min(max(scale, 1), 2**30 - 1)), i, j, kind)
            matrix[i].append(symbol)
            size = abs(machine.step(symbol)) if trellis else abs(symbol)
            sizes[i].append(64 * (size << d) + 32 * (2**d - 1) if symbol else 16 * (2**d - 1))
    return matrix


def refine(data: bytes, layers: dict[str, tuple[list[list[int]], dict[str, int]]]) -> None:
    """Section 7.8: one refinement."""
    reader = RangeReader(data)
    gains = []
    for _, settings in layers.values():
        n = 0
        while n < settings["d"] and reader.raw(1):
            n += 1
        gains.append(n)
    symbols = [sum(map(len, matrix)) for matrix, _ in layers.values()]
    refuse_unless(sum(n * m for n, m in zip(gains, symbols, strict=True)) <= 65536 + 32 * len(data))
    for (name, (matrix, settings)), gained in zip(layers.items(), gains, strict=True):
        for _ in range(gained):
            d, law = settings["d"], settings["law"]

            def put(g: int, i: int, j: int, _: str, k: Any = matrix, d: int = d, law: int = law) -> int:
                s = abs(k[i][j])
                b = reader.decode(upper_ones(law, g, d, s))
                negative = reader.raw(1) if s == 0 and b else k[i][j] < 0
                return -(2 * s + b) if negative else 2 * s + b

            settings = {**settings, "d": d - 1}
            matrix = walk_matrix(len(matrix), len(matrix[0]), settings, put)
        layers[name] = matrix, settings
    reader.finish()


@functools.cache
def upper_ones(law: int, g: int, d: int, s: int) -> int:
    """Section 7.8: the probability of an upper half."""
    g = small_scale(law, g, "plain")
    low, middle, high = (
        tail_at(law, g, max(16 * (i << d - 1) - 8, 0)) for i in (2 * s, 2 * s + 1, 2 * s + 2)
    )
    if s > 15 or low == high:
        return 32768
    return min(max((middle - high << 16) // (low - high), 32), 65504)


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


class TableReader:
    """Section 9."""

    def __init__(self, data: bytes) -> None:
        cursor = Cursor(data)
        self.counts = RangeReader(cursor.take(cursor.varint()))
        self.raw = Cursor(cursor.take(cursor.varint()))
        self.tokens = RangeReader(data[cursor.at :])

    def number(self, largest: int) -> int:
        ((value,),) = self.counts.symbols(1, 1)
        refuse_unless(0 <= value <= largest)
        return value

    def frequencies(self) -> list[int]:
        most = self.number(95)
        (row,) = self.counts.symbols(1, 2 * most + 1)
        counts = {0: row[0]}
        for t in range(1, most + 1):
            counts[t] = counts[t - 1] + row[2 * t - 1]
            counts[-t] = counts[t] + row[2 * t]
        ordered = [counts[t] for t in range(-most, most + 1)]
        refuse_unless(all(0 <= count <= 160 for count in ordered) and any(ordered))
        shares = [(8 + (k - 1) % 8) << (k - 1) // 8 if k else 0 for k in ordered]
        found = [max(1, share * 65536 // sum(shares)) if share else 0 for share in shares]
        found[shares.index(max(shares))] += 65536 - sum(found)
        return found

    def group(self, count: int) -> list[int]:
        frequencies = self.frequencies()
        most = len(frequencies) // 2
        tokens = [self.tokens.token(frequencies) - most if most else 0 for _ in range(count)]
        places = [max(0, abs(token) // 4 - 2) if abs(token) >= 16 else 0 for token in tokens]
        lower = [0] * count
        bits, at = int.from_bytes(self.raw.take((sum(places) + 7) // 8), "little"), 0
        for bit in range(max(places)):
            for i in range(count):
                if places[i] > bit:
                    lower[i] |= (bits >> at & 1) << bit
                    at += 1
        refuse_unless(bits >> at == 0)
        symbols = []
        for token, places_, low in zip(tokens, places, lower, strict=True):
            a = abs(token)
            a = a if a < 16 else ((4 + a % 4) << places_) + low
            symbols.append(-a if token < 0 else a)
        return symbols

    def grouped(self, classes: list[int]) -> list[int]:
        symbols = [0] * len(classes)
        for number in sorted(set(classes)):
            members = [i for i, other in enumerate(classes) if other == number]
            for i, symbol in zip(members, self.group(len(members)), strict=True):
                symbols[i] = symbol
        return symbols

    def table(self, level: dict[str, Any], features: int) -> list[list[int]]:
        size, points = level["entries"], range(level["R"])
        reached = [1] * size
        if level["layout"] == 1 and level["R"] ** level["d"] <= 4 * size:
            reached = [0] * size
            for place in itertools.product(points, repeat=level["d"]):
                reached[entry_of(level, *place)] = 1
        fineness = self.number(8)

        def one_level(q: int, most: int) -> int:
            a = abs(q)
            n = min(a if a < 2 else 2 * a.bit_length() - 2 + (a >> a.bit_length() - 2 & 1), most)
            return most + 1 + (-n if q < 0 else n)

        near = min(fineness, 2)
        first = [0] * size
        first[::2] = self.grouped(reached[::2])
        first[1::2] = self.grouped([reached[i] * one_level(first[i - 1], near) for i in range(1, size, 2)])
        columns = [first]
        for _ in range(1, features):
            before = columns[-1]
            columns.append(self.grouped([reached[i] * one_level(before[i], fineness) for i in range(size)]))
        return [list(row) for row in zip(*columns, strict=True)]

    def finish(self) -> None:
        self.counts.finish()
        refuse_unless(self.raw.at == len(self.raw.data))
        self.tokens.finish()
        refuse_unless(self.tokens.started or (not any(self.tokens.words) and self.tokens.point == 0))


def read_occupancy_grid(data: bytes) -> np.ndarray:
    """Section 10."""
    cursor = Cursor(data)
    size = cursor.varint()
    blocks = -(-size // 4)
    reader = RangeReader(data[cursor.at :])
    before = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (-1, -1, 0), (-1, 0, -1)]
    before += [(0, -1, -1), (-1, -1, -1), (-1, 1, 0), (-1, 0, 1), (0, -1, 1)]

    def code(name: str, values: np.ndarray, coded: np.ndarray) -> np.ndarray:
        padded = np.pad(values.astype(int), 1)
        for i, j, k in np.argwhere(coded):
            context = tuple(int(padded[i + a + 1, j + b + 1, k + c + 1]) for a, b, c in before)
            padded[i + 1, j + 1, k + 1] = reader.bit(name, context)
        return padded[1:-1, 1:-1, 1:-1]

    none = np.zeros((blocks, blocks, blocks), int)
    mixed = code("mixed", none, none == 0)
    full = code("full", none, mixed == 0)
    cells = code("cell", np.kron(full, np.ones((4, 4, 4), int)), np.kron(mixed, np.ones((4, 4, 4), int)) == 1)
    reader.finish()
    return cells[:size, :size, :size] == 1


def read_weights(
    sections: dict[int, bytes],
    networks: dict[str, dict[str, Any]],
    refinements: list[bytes] | None = None,
    whole: bool = True,
) -> dict[str, np.ndarray]:
    """Section 5; with refinements, of a progressive file."""
    cursor = Cursor(sections[3])
    coder = cursor.u8()
    seed = cursor.varint() if 5 in sections else 0
    tensors = [
        (prefix + name, shape, net) for prefix, net in networks.items() for name, shape in list_tensors(net)
    ]
    bits = 2 if coder == 2 else 1
    methods = int.from_bytes(cursor.take(-(-len(tensors) * bits // 8)), "little")
    refuse_unless(methods >> bits * len(tensors) == 0)
    heads, along, half = [], [], []
    for t in range(len(tensors)):
        method = methods >> bits * t & (2**bits - 1)
        half.append(method == 3)
        step = struct.unpack("<f", b"\0\0" + cursor.take(2))[0] if method < 3 else 0.0
        refuse_unless(method < 3 or "grid." not in tensors[t][0])
        along.append(method == 2)
        heads.append((step, cursor.varint(), cursor.varint()) if method == 1 else (step, 0, 0))
    refuse_unless(cursor.at == len(cursor.data))
    halves = Cursor(sections[4])
    weights: dict[str, np.ndarray] = {}
    for (name, shape, _), is_half in zip(tensors, half, strict=True):
        weights[name] = np.empty(0)  # its place
        if is_half:
            weights[name] = read_halves(halves.take(2 * math.prod(shape))).reshape(shape)
    if coder == 1:
        values, supports = RangeReader(sections[4]), RangeReader(sections.get(5, b""))
    elif coder == 2:
        values, supports = LawsReader(sections[4][halves.at :]), RangeReader(sections.get(5, b""))
    else:
        values = BrotliReader(sections[4], "values")
        supports = BrotliReader(sections.get(5, EMPTY_BROTLI), "supports")
    refuse_unless(refinements is None or coder == 2)
    tables = TableReader(sections[6]) if 6 in sections else None
    layers: dict[str, tuple[list[list[int]], dict[str, int]]] = {}
    steps: dict[str, float] = {}
    for (name, shape, net), (step, num_atoms, sparsity), trellis in zip(tensors, heads, along, strict=True):
        if weights[name].size:  # half floats
            continue
        if "grid." in name:
            assert tables is not None
            level = {**net["levels"][int(name.split(".")[-1])], "layout": net["layout"]}
            weights[name] = (np.array(tables.table(level, net["F"]), np.float64) * step).astype(np.float32)
            continue
        if trellis:
            assert isinstance(values, LawsReader)
            integers = trellis_integers(values.symbols(*shape, trellis=True))
            weights[name] = (np.array(integers, np.float64) * step).astype(np.float32)
            continue
        if num_atoms == 0 and refinements is not None and len(shape) == 2 and shape[0] > 1:
            assert isinstance(values, LawsReader)
            layers[name] = values.symbols(*shape, layered=True), values.settings
            steps[name] = step
            continue
        if num_atoms == 0:
            rows = shape[0] if len(shape) == 2 else 1
            symbols = np.array(values.symbols(rows, shape[-1]), np.float64).reshape(shape)
            weights[name] = (symbols * step).astype(np.float32)
            continue
        tiny, by_columns = net["m"] < 50, shape[0] == net["m"]
        k1 = shape[0] * shape[1] if tiny else net["m"]
        if name == "latents":
            tiny, by_columns, k1 = False, False, shape[1]
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
    if tables is not None:
        tables.finish()
    for part in refinements or []:
        refine(part, layers)
    for name, (matrix, settings) in layers.items():
        d, k = settings["d"], np.array(matrix, np.int64)
        refuse_unless(d == 0 or not whole)
        doubled = np.sign(k) * (2 * (abs(k) << d) + 2**d - 1)
        weights[name] = (doubled.astype(np.float64) * (steps[name] / 2)).astype(np.float32)
    return weights


def read_halves(data: bytes) -> np.ndarray:
    """Section 5.2: binary16 numbers, by hand."""
    found = []
    for (bits,) in struct.iter_unpack("<H", data):
        exponent, fraction = bits >> 10 & 31, bits & 1023
        refuse_unless(exponent < 31)
        size = math.ldexp(fraction + 1024 * (exponent > 0), max(exponent, 1) - 25)
        found.append(-size if bits >> 15 else size)
    return np.array(found, np.float32)


def read_prior(data: bytes) -> tuple[dict[str, Any], bytes, dict[str, np.ndarray]]:
    """Section 13.1: the network, the origin and the tensors."""
    cursor = Cursor(data[:-4])
    refuse_unless(struct.pack("<I", zlib.crc32(cursor.data)) == data[-4:])
    refuse_unless(cursor.take(5).hex() == "8953505201")
    net = read_network(cursor)
    net |= read_grid(cursor, net)
    origin = cursor.take(cursor.u8())
    tensors: dict[str, np.ndarray] = {}
    for _ in range(cursor.varint()):
        name = cursor.take(cursor.u8()).decode("utf-8")
        refuse_unless(all(name.encode() > other.encode() for other in tensors))
        shape = tuple(cursor.varint() for _ in range(cursor.u8()))
        count = math.prod(shape)
        tensors[name] = np.array(struct.unpack(f"<{count}f", cursor.take(4 * count)), np.float32).reshape(
            shape
        )
        refuse_unless(len(shape) <= 4 and count > 0 and bool((np.abs(tensors[name]) < 2.0**64).all()))
    refuse_unless(cursor.at == len(cursor.data))
    refuse_unless(all(tensors[name].shape == shape for name, shape in list_tensors(net)))
    return net, origin, tensors


def build_on(
    section: bytes, net: dict[str, Any], weights: dict[str, np.ndarray], priors: dict[str, bytes]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Section 13: the weights, and the tensors of the prior."""
    number, origin = section[:8].hex(), section[8:]
    refuse_unless(len(section) >= 8 and len(origin) <= 200 and all(32 <= byte <= 126 for byte in origin))
    data = priors[f"{number}.prior"]
    refuse_unless(hashlib.sha256(data).digest()[:8] == section[:8])
    known, _, tensors = read_prior(data)
    base = {name: value for name, value in net.items() if name != "latents"}
    refuse_unless(known == base)
    if "latents" not in net:
        # Two binary32 numbers add up in binary64 with so small an error that rounding it again does no harm.
        return {n: (tensors[n].astype(float) + v).astype(np.float32) for n, v in weights.items()}, tensors
    rows = (net["h"] + 1) * net["m"]
    refuse_unless(tensors["modulation.weight"].shape == (rows, net["latents"]["size"]))
    refuse_unless(tensors["modulation.bias"].shape == (rows,))
    return weights, tensors


def modulate(net: dict[str, Any], tensors: dict[str, np.ndarray], z: np.ndarray) -> dict[str, np.ndarray]:
    """Section 3.5: the tensors of the network of a patch."""
    shifts = tensors["modulation.weight"].astype(float) @ z + tensors["modulation.bias"]
    m, own = net["m"], dict(tensors)
    for layer, name in enumerate(["first", *(f"hidden.{k}" for k in range(net["h"]))]):
        own[f"{name}.bias"] = tensors[f"{name}.bias"] + shifts[layer * m : (layer + 1) * m]
    return own


def lift(net: dict[str, Any], weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Section 3.3, in float64."""
    columns = []
    for number, level in enumerate(net["levels"]):
        p = (x + 1) / 2 * level["S"] + (0.5 if net["layout"] == 2 else 0.0)
        low = np.floor(p).astype(int)
        found = np.zeros((len(x), net["F"]))
        for corner in itertools.product((0, 1), repeat=net["d"]):
            share = np.prod([w if up else 1 - w for up, w in zip(corner, (p - low).T, strict=True)], axis=0)
            entries = [entry_of(level, *(int(v) for v in point)) for point in low + corner]
            found += share[:, None] * weights[f"grid.{number}"][entries]
        columns.append(found)
    return np.concatenate(columns, axis=1)


def run_network(net: dict[str, Any], weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Section 3.2, in float64."""

    def linear(name: str, v: np.ndarray) -> np.ndarray:
        parts = [weights[f"{name}.{kind}"].astype(complex) for kind in ("weight", "bias")]
        if f"{name}.weight.im" in weights:
            parts[0] = parts[0] + 1j * weights[f"{name}.weight.im"]
            parts[1] = parts[1] + 1j * weights[f"{name}.bias.im"]
        return v @ parts[0].T + parts[1]

    e = lift(net, weights, x) if net["levels"] else x.astype(np.float64)
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


def read_file(
    data: bytes, priors: dict[str, bytes] | None = None
) -> tuple[dict[str, dict[str, Any]], dict[str, Any], dict[str, np.ndarray]]:
    features, sections, refinements, whole = read_sections(data)
    networks = read_networks(sections[1], features)
    domain = read_domain(sections[2])
    if 129 in sections:
        domain["grid"] = read_occupancy_grid(sections[129])
    layered = refinements if features & 4 else None
    weights = read_weights(sections, networks, layered, whole)
    if features & 8:
        weights, domain["prior"] = build_on(sections[7], networks[""], weights, priors or {})
    return networks, domain, weights


# --- The tests ---------------------------------------------------------------------------------------------

FIELDS = ("width", "height", "channels", "bits", "scale", "extent", "iso", "center", "units", "box", "near")
FIELDS += ("contraction", "bounds", "far", "spacing", "samples", "density_scale", "direction", "color")
FIELDS += ("direction_levels", "background", "transform")


def check(data: bytes, folder: Path | None = None) -> None:
    networks, domain, weights = read_file(data, known_priors(folder) if folder else None)
    contents = decompress(data, folder)
    assert list(weights) == list(contents.weights)
    for name, values in contents.weights.items():
        assert weights[name].tobytes() == values.numpy().tobytes(), name
    for name in FIELDS:
        assert domain.get(name) == getattr(contents.domain, name, None), name
    views = getattr(contents.domain, "cameras", None)
    assert domain.get("views") == (views and (*astuple(views)[:4], views.poses))
    grid = domain.get("grid")
    assert (grid is None) == (contents.grid is None)
    assert grid is None or contents.grid is None or np.array_equal(grid, contents.grid)
    spec = contents.spec
    if isinstance(spec, ModulatedSpec):
        return
    specs = {"": spec} if isinstance(spec, InrSpec) else {f"{role}/": net for role, net in spec.networks}
    for prefix, net in networks.items():
        own = {name[len(prefix) :]: v for name, v in contents.weights.items() if name.startswith(prefix)}
        check_outputs(net, specs[prefix], own)


def known_priors(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check_outputs(net: dict[str, Any], spec: InrSpec, weights: dict[str, torch.Tensor]) -> None:
    coords = np.linspace(-1, 1, 6 * net["d"]).reshape(6, -1)
    ours = evaluate(spec, weights, torch.from_numpy(coords).float()).numpy()
    scale = np.abs(ours).max() + 1
    # The phase is float32 on our side: its error grows with omega times the size of the weights.
    if max(float(v.abs().max()) for v in weights.values()) < 2:
        arrays = {name: v.numpy() for name, v in weights.items()}
        np.testing.assert_allclose(run_network(net, arrays, coords), ours, atol=5e-3 * scale)


@pytest.mark.parametrize("file", tiny_files.FILES + tiny_files.LARGE_FILES, ids=lambda file: file.name)
def test_fixed_files(file: tiny_files.TinyFile) -> None:
    check(file.data())


@pytest.mark.parametrize("file", tiny_files.PRIOR_FILES, ids=lambda file: file.name)
def test_files_that_build_on_a_prior(file: tiny_files.TinyFile, tmp_path: Path) -> None:
    assert file.prior is not None
    save_prior(file.prior, tmp_path)
    check(file.data(), tmp_path)
    with pytest.raises(KeyError):
        read_file(file.data())


@pytest.mark.parametrize("grid", [None, GridSpec((2.0, 4.0), 2, 4), GridSpec((2.0,), 1, 3, "dense", 2)])
def test_priors(grid: GridSpec | None) -> None:
    spec = InrSpec(grid.dims if grid else 2, 2, 5, 1, grid=grid)
    prior = Prior(spec, {**build(spec).weights(), "rate.last.bias": torch.rand(2)}, "make it")
    net, origin, tensors = read_prior(pack_prior(prior))
    assert (net["m"], net["h"], origin, len(net["levels"])) == (
        5,
        1,
        b"make it",
        len(grid.scales) if grid else 0,
    )
    assert sorted(prior.tensors) == list(tensors)
    assert all(np.array_equal(values.numpy(), tensors[name]) for name, values in prior.tensors.items())


@pytest.mark.parametrize("name", ["latents", "latents sparse", "latents half", "latents brotli"])
def test_pixels_of_latents(name: str, tmp_path: Path) -> None:
    file = next(file for file in tiny_files.PRIOR_FILES if file.name == name)
    assert file.prior is not None
    save_prior(file.prior, tmp_path)
    networks, domain, weights = read_file(file.data(), known_priors(tmp_path))
    net, sizes = networks[""], networks[""]["latents"]
    ours = Field(decompress(file.data(), tmp_path)).pixels()
    for j, i in itertools.product(range(domain["height"]), range(domain["width"])):
        a = sizes["a"]
        patch = j // a * sizes["columns"] + i // a if a else 0
        x = ((2 * (i % a) + 1) / a - 1) if a else (2 * i + 1) / domain["width"] - 1
        y = ((2 * (j % a) + 1) / a - 1) if a else (2 * j + 1) / domain["height"] - 1
        own = modulate(net, domain["prior"], weights["latents"][patch])
        values = run_network(net, own, np.array([[x, y]]))[0]
        assert np.abs(ours[j, i] - np.clip(np.rint((values + 1) * 127.5), 0, 255)).max() <= 1


@pytest.mark.parametrize("file", [f for f in tiny_files.FILES if f.drops], ids=lambda file: file.name)
def test_progressive_files_that_are_cut_short(file: tiny_files.TinyFile) -> None:
    data = file.data()
    found = unpack_container(data).refinements
    assert found is not None
    end = len(data)
    for size in reversed(found.sizes):
        check(data[: end - 1])
        end -= size + 4
        check(data[:end])
    with pytest.raises(RefusedError):
        read_file(data[: end - 1])


@pytest.mark.parametrize("activation", ["sine", "gauss", "wire", "relu"])
@pytest.mark.parametrize(
    ("coder", "method"),
    [*itertools.product(["range", "brotli", "laws"], ["dense", "sparse"]), ("laws", "trellis")],
)
@pytest.mark.parametrize("width", [7, 52])
def test_compressed_networks(activation: str, coder: str, width: int, method: str) -> None:
    spec = default_spec(3, 1, width, 1, activation)
    weights = build(spec, seed=5).weights()
    plans: dict[str, Plan] = {t.name: DensePlan(2.0**-9) for t in tensor_shapes(spec)}
    if method == "sparse":
        plans |= {t.name: SinrPlan(500, 9) for t in tensor_shapes(spec) if t.role == "hidden"}
    if method == "trellis":
        plans |= {t.name: TrellisPlan(2.0**-9) for t in tensor_shapes(spec) if t.role != "bias"}
    check(compress(weights, spec, tiny_files.SHAPE, plans, coder=coder, seed=4_000_000_000))


def test_philox_and_table_vectors() -> None:
    assert philox((0, 0), (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert zlib.crc32(np.array(GAUSSIAN, "<i2").tobytes()) == 0x546C8CB1
    assert make_atom(10, 65535, 0) == [-11276, 5349, 5359, 2770, -877, 2697, 6151, 2172, -5371, 1517]


def test_tails_of_the_laws() -> None:
    assert zlib.crc32(np.array([t[:-1] for t in TAILS], "<i4").tobytes()) == 0x1E5B3A52


def test_pixels_of_an_image() -> None:
    data = tiny_files.FILES[9].data()
    networks, domain, weights = read_file(data)
    i, j = np.meshgrid(np.arange(domain["width"]), np.arange(domain["height"]))
    x = (2 * i + 1) / domain["width"] - 1
    y = (2 * j + 1) / domain["height"] - 1
    values = run_network(networks[""], weights, np.stack([x.ravel(), y.ravel()], axis=1))
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
