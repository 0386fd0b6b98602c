"""Integer codes of all tensors <-> the sections TENSORS, VALUES, SUPPORTS and TABLES.

What stands in TENSORS, and the checks; the streams are in `codec/streams.py` and `codec/tables.py`.
"""

import numpy as np

from sinr3d.codec import quantizer, streams, tables
from sinr3d.codec.container import SUPPORTS, TABLES, TENSORS, VALUES, Refinements
from sinr3d.codec.fields import Reader, pack_varint
from sinr3d.codec.limits import (
    MAX_ATOMS,
    MAX_SPARSITY,
    MAX_VECTOR_LENGTH,
    check_limit,
    least_bytes,
    max_atom_values,
    max_table_values,
    max_values,
)
from sinr3d.codec.progressive import Coarse, Layers, unpack_refinements
from sinr3d.codec.tensors import (
    DENSE_ROLES,
    Code,
    CodedNetwork,
    DenseCode,
    HalfCode,
    SinrCode,
    TrellisCode,
    vector_length,
)
from sinr3d.errors import CorruptFileError
from sinr3d.inr.spec import AnySpec, InrSpec, SceneSpec, TensorShape, tensor_shapes

CODERS = {"brotli": streams.BROTLI, "range": streams.RANGE, "laws": streams.LAWS}
METHODS = {DenseCode: 0, SinrCode: 1, TrellisCode: 2, HalfCode: 3}


def pack_codes(network: CodedNetwork, coder: str, layers: Layers | None = None) -> dict[int, bytes]:
    """Codes all tensors with one coder, "brotli", "range" or "laws"; payloads by section tag.

    TENSORS says how each tensor is coded, VALUES holds all symbols but those of tables, SUPPORTS all atom
    indices, TABLES the symbols of the feature grids' tables, whatever the coder. Given layers, it is the base
    of a progressive file (`progressive.pack_refinements` makes the rest), and the coder is "laws".

    Raises:
        LimitError: a reader would refuse the sizes.
        ValueError: the coder cannot code a tensor.
    """
    _check_codes(network, coder, layers)
    codes = list(network.codes.values())
    plain, grids = _split(network.codes, network.spec)
    sparse = [code for code in codes if isinstance(code, SinrCode)]
    head = bytes([CODERS[coder]]) + (pack_varint(network.seed) if sparse else b"")
    methods = _pack_methods([METHODS[type(code)] for code in codes], _method_bits(CODERS[coder]))
    payloads = {TENSORS: head + methods + b"".join(_pack_code(code) for code in codes)}
    if grids:
        symbols = [code.symbols for code in grids.values()]
        payloads[TABLES] = tables.pack_tables(symbols, _reached(network.spec))
    payloads[VALUES] = streams.pack_values(plain, CODERS[coder], layers and layers.base)
    if sparse:
        payloads[SUPPORTS] = streams.pack_supports(sparse, CODERS[coder])
    if coder != "brotli":
        # A network of zeros costs next to nothing; zero bytes behind the code buy it the right to its size.
        short = least_bytes(*_work(plain, network.spec)) - _code_bytes(payloads)
        payloads[VALUES] += bytes(max(short, 0))
    _check_tables(network.spec, payloads)
    _check_work(plain, network.spec, payloads)
    return payloads


def unpack_codes(
    payloads: dict[int, bytes], spec: AnySpec, refinements: Refinements | None = None
) -> CodedNetwork:
    """Reads what `pack_codes` wrote; every claim is checked before memory is taken for it.

    Args:
        payloads: by section tag.
        spec: the network or networks.
        refinements: of a progressive file.

    Raises:
        CorruptFileError, LimitError, TruncatedFileError: what is wrong.
    """
    for tag, name in ((TENSORS, "TENSORS"), (VALUES, "VALUES")):
        if tag not in payloads:
            raise CorruptFileError(f"the file has no section {name}")
    table_values = _check_tables(spec, payloads)
    most = max_values(_code_bytes(payloads))
    check_limit("the number of weights", spec.num_weights - table_values, 1, most)
    coder, seed, empty = _unpack_tensors(payloads, spec)
    plain, grids = _split(empty, spec)
    _check_work(plain, spec, payloads)
    streamed = payloads[VALUES], payloads.get(SUPPORTS, b"")
    if refinements is None:
        codes = streams.unpack(plain, coder, *streamed)
    elif coder == streams.LAWS:
        codes = _unpack_layers(plain, *streamed, refinements)
    else:
        raise CorruptFileError("a progressive file has to be coded by laws")
    if grids:
        shapes = [code.symbols.shape for code in grids.values()]
        symbols = tables.unpack_tables(payloads[TABLES], shapes, _reached(spec))
        for (name, code), table in zip(grids.items(), symbols, strict=True):
            codes[name] = DenseCode(table, code.step)
    return CodedNetwork(spec, {name: codes[name] for name in empty}, seed)


def _unpack_layers(
    empty: dict[str, Code], data: bytes, supports: bytes, refinements: Refinements
) -> dict[str, Code]:
    """The codes of a progressive file, as fine as the refinements that are there make them."""
    codes, settings = streams.unpack_base(empty, data, supports)
    coarse: dict[str, Coarse] = {}
    for name, found in settings.items():
        code = codes[name]
        assert isinstance(code, DenseCode)
        coarse[name] = Coarse(code.symbols, found, code.step)
    coarse = unpack_refinements(coarse, refinements.present)
    if refinements.are_whole and any(matrix.settings.drop for matrix in coarse.values()):
        raise CorruptFileError("the last refinement leaves bits out")
    return codes | {name: matrix.code() for name, matrix in coarse.items()}


def _unpack_tensors(payloads: dict[int, bytes], spec: AnySpec) -> tuple[int, int, dict[str, Code]]:
    """The coder, the seed and how each tensor is coded."""
    reader = Reader(payloads[TENSORS], "the section TENSORS")
    (coder,) = reader.unpack("B")
    if coder not in CODERS.values():
        raise CorruptFileError(
            f"entropy coder {coder} is unknown; this reader knows {sorted(CODERS.values())}"
        )
    has_supports = SUPPORTS in payloads
    seed = reader.varint() if has_supports else 0
    check_limit("the seed of the dictionary", seed, 0, (1 << 32) - 1)
    shapes = tensor_shapes(spec)
    methods = _unpack_methods(reader, len(shapes), _method_bits(coder))
    if (METHODS[SinrCode] in methods) != has_supports:
        raise CorruptFileError("the methods of the tensors do not fit the sections")
    empty = {t.name: _unpack_code(reader, t, m) for t, m in zip(shapes, methods, strict=True)}
    reader.finish()
    return coder, seed, empty


def _method_bits(coder: int) -> int:
    """Bits of a tensor's method in TENSORS."""
    return 2 if coder == streams.LAWS else 1


def _pack_methods(methods: list[int], bits: int) -> bytes:
    packed = sum(method << bits * index for index, method in enumerate(methods))
    return packed.to_bytes((len(methods) * bits + 7) // 8, "little")


def _unpack_methods(reader: Reader, count: int, bits: int) -> list[int]:
    packed = int.from_bytes(reader.take((count * bits + 7) // 8), "little")
    methods = [packed >> bits * index & ((1 << bits) - 1) for index in range(count)]
    if packed >> bits * count or max(methods) > max(METHODS.values()):
        raise CorruptFileError("the methods of the tensors are unknown")
    return methods


def _split(codes: dict[str, Code], spec: AnySpec) -> tuple[dict[str, Code], dict[str, DenseCode]]:
    """The codes whose symbols stand in VALUES, and those of tables."""
    grids: dict[str, DenseCode] = {}
    for tensor in tensor_shapes(spec):
        code = codes[tensor.name]
        if tensor.role == "table" and isinstance(code, DenseCode):
            grids[tensor.name] = code
    return {name: code for name, code in codes.items() if name not in grids}, grids


def _reached(spec: AnySpec) -> list[np.ndarray]:
    """Of each table, the entries that a grid point leads to."""
    networks = [network for _, network in spec.networks] if isinstance(spec, SceneSpec) else []
    networks += [spec] if isinstance(spec, InrSpec) else []
    grids = [network.grid for network in networks if network.grid is not None]
    return [tables.reached_entries(grid, level) for grid in grids for level in range(len(grid.scales))]


def _check_tables(spec: AnySpec, payloads: dict[int, bytes]) -> int:
    """The values of all tables, which the length of TABLES bounds; refuses a section too many or too few."""
    table_values = sum(tensor.size for tensor in tensor_shapes(spec) if tensor.role == "table")
    if (table_values > 0) != (TABLES in payloads):
        raise CorruptFileError("the file has a section TABLES exactly if its networks have feature grids")
    most = max_table_values(len(payloads.get(TABLES, b"")))
    check_limit("the number of values in tables", table_values, 0, most)
    return table_values


def _pack_code(code: Code) -> bytes:
    if isinstance(code, HalfCode):
        return b""
    if not isinstance(code, SinrCode):
        return quantizer.pack_step(code.step)
    sizes = pack_varint(code.num_atoms) + pack_varint(code.support.shape[1])
    return quantizer.pack_step(code.step) + sizes


def _unpack_code(reader: Reader, tensor: TensorShape, method: int) -> Code:
    """The code of one tensor with all its symbols still zero; broadcast views, so that no memory is taken."""
    if method == METHODS[HalfCode]:
        if tensor.role == "table":
            raise CorruptFileError(f"the table {tensor.name} is said to be of half floats")
        return HalfCode(np.broadcast_to(np.uint16(0), tensor.shape))
    step = quantizer.unpack_step(reader.take(2))
    zeros = np.broadcast_to(np.int32(0), tensor.shape)
    if method == METHODS[DenseCode]:
        return DenseCode(zeros, step)
    if tensor.role in DENSE_ROLES or len(tensor.shape) != 2:
        how = "sparse-coded" if method == METHODS[SinrCode] else "quantized along a trellis"
        raise CorruptFileError(f"the {tensor.role} {tensor.name} is said to be {how}")
    if method == METHODS[TrellisCode]:
        return TrellisCode(zeros, step)
    num_atoms, sparsity = reader.varint(), reader.varint()
    length = vector_length(tensor)
    _check_sparse(length, num_atoms, sparsity)
    symbols = np.broadcast_to(np.int32(0), (tensor.size // length, sparsity))
    return SinrCode(symbols, symbols, step, num_atoms)


def _check_sparse(length: int, num_atoms: int, sparsity: int) -> None:
    check_limit("the length of a sparse-coded vector", length, 1, MAX_VECTOR_LENGTH)
    check_limit("the atoms of the dictionary", num_atoms, 1, MAX_ATOMS)
    check_limit("the sparsity", sparsity, 1, min(num_atoms, length, MAX_SPARSITY))


def _check_codes(network: CodedNetwork, coder: str, layers: Layers | None) -> None:
    if layers is not None and coder != "laws":
        raise ValueError(f'a progressive file takes the coder "laws", not {coder!r}')
    check_limit("the seed of the dictionary", network.seed, 0, (1 << 32) - 1)
    for tensor in tensor_shapes(network.spec):
        code = network.codes[tensor.name]
        if isinstance(code, TrellisCode | HalfCode) and coder != "laws":
            how = "quantized along a trellis" if isinstance(code, TrellisCode) else "of half floats"
            raise ValueError(f'{tensor.name} is {how}, which takes the coder "laws"')
        if isinstance(code, HalfCode) and tensor.role == "table":
            raise ValueError(f"the table {tensor.name} is of half floats; tables are dense")
        if isinstance(code, SinrCode) and len(tensor.shape) == 2:
            length = vector_length(tensor)
            _check_sparse(length, code.num_atoms, code.support.shape[1])


def _code_bytes(payloads: dict[int, bytes]) -> int:
    return len(payloads[VALUES]) + len(payloads.get(SUPPORTS, b""))


def _work(codes: dict[str, Code], spec: AnySpec) -> tuple[int, int]:
    """What a decoder has to read and make for these: symbols and indices, and dictionary values."""
    num_values = weights = atom_values = 0
    for tensor in tensor_shapes(spec):
        if tensor.name not in codes:
            continue
        code = codes[tensor.name]
        weights += tensor.size
        num_values += code.symbols.size
        if isinstance(code, SinrCode) and len(tensor.shape) == 2:
            num_values += code.symbols.size
            atom_values += code.symbols.size * vector_length(tensor)
    return max(num_values, weights), atom_values


def _check_work(codes: dict[str, Code], spec: AnySpec, payloads: dict[int, bytes]) -> None:
    num_bytes = _code_bytes(payloads)
    num_values, atom_values = _work(codes, spec)
    check_limit("the number of symbols and indices", num_values, 1, max_values(num_bytes))
    check_limit("the atom values to regenerate", atom_values, 0, max_atom_values(num_bytes))
