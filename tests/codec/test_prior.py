"""Priors: round trips, refusals, where they are looked for, and files that build on them."""

import contextlib
import hashlib
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiny_files import BARE_SCENE, FILES, IMAGE, PRIOR_FILES, RECORD, SHAPE, TinyFile
from torch import Tensor

from sinr3d.codec import container, header, info
from sinr3d.codec.container import pack_container, unpack_container
from sinr3d.codec.header import Domain, ImageDomain, PriorRef
from sinr3d.codec.network import features_of, pack_spec, unpack_spec
from sinr3d.codec.pipeline import compress, decompress, pack_file, unpack_file
from sinr3d.codec.prior import Prior, find_prior, load_prior, pack_prior, prior_id, save_prior, unpack_prior
from sinr3d.codec.tensors import CodedNetwork, DenseCode, DensePlan, Plan, SinrPlan, encode_tensors
from sinr3d.errors import (
    ChecksumError,
    CorruptFileError,
    LimitError,
    MissingFileError,
    MissingPriorError,
    SinrError,
    UnsupportedVersionError,
)
from sinr3d.inr.mlp import build
from sinr3d.inr.modulated import MODULATION_BIAS, MODULATION_WEIGHT
from sinr3d.inr.spec import GridSpec, InrSpec, ModulatedSpec, default_spec, tensor_shapes

ORIGIN = "sinr3d bench c3 --scale smoke"
SPEC = default_spec(2, 3, 4, 1)
MODULATED = ModulatedSpec(SPEC, 5, 2, 2, 3)  # of IMAGE, 5 x 4 pixels


def make_prior(spec: InrSpec = SPEC, seed: int = 1, **others: Tensor) -> Prior:
    return Prior(spec, {**build(spec, seed=seed).weights(), **others}, ORIGIN)


def make_base(latent_size: int = 5) -> Prior:
    rows = (SPEC.hidden_layers + 1) * SPEC.width
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(rows, latent_size, generator=generator)
    others: dict[str, Any] = {MODULATION_WEIGHT: weight, MODULATION_BIAS: torch.zeros(rows)}
    return make_prior(**others)


def assert_same(one: Prior, other: Prior) -> None:
    assert (one.spec, one.origin, sorted(one.tensors)) == (other.spec, other.origin, sorted(other.tensors))
    for name, values in one.tensors.items():
        assert values.shape == other.tensors[name].shape
        assert values.numpy().tobytes() == other.tensors[name].numpy().tobytes()


# --- The file of a prior ------------------------------------------------------------------------------------


def test_exact_bytes_of_a_prior() -> None:
    spec = InrSpec(1, 1, 1, 0, "relu", 1.0, 1.0)
    tensors = {t.name: torch.full(t.shape, float(n)) for n, t in enumerate(tensor_shapes(spec), start=1)}
    data = pack_prior(Prior(spec, tensors, "make it"))
    assert data.hex() == (
        "8953505201" + "010104000100" + "0000803f0000803f" + "00" + "076d616b65206974" + "04"
        "0a66697273742e62696173" + "0101" + "00000040"
        "0c66697273742e776569676874" + "020101" + "0000803f"
        "096c6173742e62696173" + "0101" + "00008040"
        "0b6c6173742e776569676874" + "020101" + "00004040" + data[-4:].hex()
    )
    assert prior_id(data) == hashlib.sha256(data).hexdigest()[:16]


GRIDS = st.builds(
    GridSpec,
    scales=st.lists(st.floats(1, 8, width=32), min_size=1, max_size=3).map(tuple),
    features=st.integers(1, 2),
    log2_entries=st.integers(1, 5),
    layout=st.sampled_from(["hashed", "dense"]),
)


@st.composite
def priors(draw: st.DrawFn) -> Prior:
    grid = draw(st.none() | GRIDS)
    dims = draw(st.integers(2, 3))
    grid = grid and replace(grid, dims=dims)
    spec = InrSpec(dims, draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(0, 2)), grid=grid)
    tensors = dict(build(spec, draw(st.integers(0, 9))).weights())
    values = arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=0, max_dims=4, max_side=3),
        elements=st.floats(-9, 9, width=32),
    )
    for name in draw(st.lists(st.sampled_from(["rate.first.bias", "modulation.bias", "z"]), unique=True)):
        tensors[name] = torch.from_numpy(draw(values))
    order = draw(st.permutations(list(tensors)))
    text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200)
    return Prior(spec, {name: tensors[name] for name in order}, draw(text))


@settings(max_examples=40, deadline=None)
@given(priors())
def test_round_trip(prior: Prior) -> None:
    data = pack_prior(prior)
    read = unpack_prior(data)
    assert_same(read, prior)
    assert pack_prior(read) == data


def sealed(data: bytes) -> bytes:
    """A prior's file with its last four bytes right."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def test_damaged_priors_are_refused() -> None:
    data = pack_prior(make_prior())
    for length in range(len(data)):
        with pytest.raises(CorruptFileError):
            unpack_prior(data[:length])
        with pytest.raises(CorruptFileError):
            unpack_prior(sealed(data[:length]))
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 16
        with pytest.raises((CorruptFileError, UnsupportedVersionError)):
            unpack_prior(bytes(damaged))
        with contextlib.suppress(SinrError):
            unpack_prior(sealed(bytes(damaged)))


def test_priors_that_are_refused() -> None:
    prior = make_prior()
    with pytest.raises(CorruptFileError, match="printable ASCII"):
        pack_prior(replace(prior, origin="rm\x1b[2J"))
    with pytest.raises(CorruptFileError, match="200 characters"):
        pack_prior(replace(prior, origin="x" * 201))
    with pytest.raises(CorruptFileError, match="not below 2\\^64"):
        pack_prior(make_prior(rate=torch.tensor(torch.inf)))
    with pytest.raises(CorruptFileError, match="not below 2\\^64"):
        pack_prior(make_prior(rate=torch.tensor(2.0**64)))
    with pytest.raises(CorruptFileError, match=r"first.bias is \(5,\); its network needs \(4,\)"):
        pack_prior(replace(prior, tensors={**prior.tensors, "first.bias": torch.zeros(5)}))
    with pytest.raises(CorruptFileError, match=r"last.bias is None"):
        pack_prior(replace(prior, tensors={k: v for k, v in prior.tensors.items() if k != "last.bias"}))
    with pytest.raises(LimitError, match="an axis of the prior's tensor 'z' is 0"):
        pack_prior(make_prior(z=torch.zeros(2, 0)))
    with pytest.raises(CorruptFileError, match="not a prior"):
        unpack_prior(b"\x89SNR\1")
    data = bytearray(pack_prior(prior))
    data[4] = 2
    with pytest.raises(UnsupportedVersionError, match="format version 2"):
        unpack_prior(sealed(bytes(data)))


# --- Where priors are ---------------------------------------------------------------------------------------


def test_a_prior_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SINR3D_PRIORS", raising=False)
    prior = make_prior()
    path = save_prior(prior, tmp_path / "new" / "folder")
    ref, read = load_prior(path)
    assert path.name == f"{ref.id}.prior" == f"{prior_id(path.read_bytes())}.prior"
    assert ref == PriorRef(ref.id, ORIGIN)
    assert_same(read, prior)
    assert [other.name for other in path.parent.iterdir()] == [path.name]
    assert_same(find_prior(ref, path.parent), prior)
    with pytest.raises(MissingPriorError):
        find_prior(ref, None)
    monkeypatch.setenv("SINR3D_PRIORS", str(path.parent))
    assert_same(find_prior(ref, tmp_path), prior)
    monkeypatch.delenv("SINR3D_PRIORS")
    save_prior(prior, tmp_path / "home" / ".cache" / "sinr3d" / "priors")
    assert_same(find_prior(ref), prior)


def test_a_prior_that_is_missing_or_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINR3D_PRIORS", str(tmp_path / "variable"))
    path = save_prior(make_prior(), tmp_path)
    ref = PriorRef("0123456789abcdef", "make priors")
    with pytest.raises(MissingPriorError) as caught:
        find_prior(ref, tmp_path)
    message = str(caught.value)
    for part in (
        "0123456789abcdef.prior",
        str(tmp_path),
        str(tmp_path / "variable"),
        "make priors",
        "--priors",
    ):
        assert part in message
    assert caught.value.exit_code == 1
    path.rename(tmp_path / ref.file_name)
    with pytest.raises(ChecksumError, match="another prior"):
        find_prior(ref, tmp_path)
    (tmp_path / ref.file_name).write_bytes(b"no prior")
    with pytest.raises(CorruptFileError, match=re.escape(f"{tmp_path / ref.file_name}: this is not a prior")):
        find_prior(ref, tmp_path)
    with pytest.raises(MissingFileError):
        load_prior(tmp_path / "other.prior")


# --- Files that build on a prior ----------------------------------------------------------------------------


EXACT = {
    "difference": (
        "89534e52010a06010e0203010004010000f0410000f0410206010504030801031302031000003c803cc03bac0204003d"
        "203d403d04209449430860444da64938e293f2bd865c249d103dddcea13221e6677b86bd108b0504928b5a71072580e4"
        "1189e800369073696e7233642062656e6368206333202d2d7363616c6520736d6f6b655ef8bf7f"
    ),
    "difference in layers": (
        "89534e52010e05010c010e0203010004010000f0410000f0410206010504030801030f020000003c803cc03c003d203d"
        "403d042007b2400820857d2c19e077df51171c018cbef8e9ad5b95b277a28eb75a98de10072580e41189e80036907369"
        "6e7233642062656e6368206333202d2d7363616c6520736d6f6b655691adda251afbff9b8af9f19b0b7aad9deb7583"
    ),
    "latents": (
        "89534e52012a0501120203010004010000f0410000f04106020203020601050403080103040200003c04189449470825"
        "6abfa5495da1bebf054aae95869e91bae991d50725dd59553b72768bd073696e7233642062656e6368206333202d2d73"
        "63616c6520736d6f6b65c370a124"
    ),
    "latents sparse": (
        "89534e52012a0601120203010004010000f0410000f0410602020302060105040308010308020301003bac02010408f9"
        "75870b51722a980508a5f8c7c4588f351f0725dd59553b72768bd073696e7233642062656e6368206333202d2d736361"
        "6c6520736d6f6b651714d546"
    ),
    "latents half": (
        "89534e52012a0501120203010004010000f0410000f041080001010206010504030801030202030410002a00a400ab00"
        "2a00a400ab002a002007251e67929ac894fcb973696e7233642062656e6368206333202d2d7363616c6520736d6f6b65"
        "1e0d97bd"
    ),
    "latents brotli": (
        "89534e5201280601120203010004010000f0410000f041060302022e7be96302060105040308016b2291750308000301"
        "003bac0201e531a8fb0409018b01808a501c1d0324bba4c5050c8b0380932a491f000000000384dba4800725dd59553b"
        "72768bd073696e7233642062656e6368206333202d2d7363616c6520736d6f6b653cd95c5c"
    ),
}
"""The bytes of each file that builds on a prior. A change here is a new version of the format."""

WEIGHTS = {
    "difference": "d58f682a09cd2a6f",
    "difference in layers": "53d8b248238bd4bc",
    "latents": "31209c09112731e7",
    "latents sparse": "42e079b47757f53c",
    "latents half": "d0fbb92891ad9d20",
    "latents brotli": "deb5c588e3a6546f",
}
"""SHA-256 of the decoded tensors, little-endian float32; its first 16 digits."""


@pytest.mark.parametrize("file", PRIOR_FILES, ids=lambda file: file.name)
def test_exact_bytes_and_weights(file: TinyFile, tmp_path: Path) -> None:
    assert file.prior is not None
    save_prior(file.prior, tmp_path)
    # What Brotli writes may change with its release; what it reads does not.
    assert file.coder == "brotli" or file.data().hex() == EXACT[file.name]
    contents = decompress(bytes.fromhex(EXACT[file.name]), tmp_path)
    tensors = contents.weights.values()
    digest = hashlib.sha256(b"".join(v.numpy().astype("<f4").tobytes() for v in tensors)).hexdigest()
    assert digest[:16] == WEIGHTS[file.name]
    assert (contents.prior, contents.spec, contents.domain) == (file.ref(), file.spec, file.domain)


def dense(spec: InrSpec | ModulatedSpec, step: float = 2.0**-9) -> dict[str, Plan]:
    return {tensor.name: DensePlan(step) for tensor in tensor_shapes(spec)}


@pytest.mark.parametrize("coder", ["range", "brotli", "laws"])
def test_a_network_is_what_it_adds_to_a_prior(tmp_path: Path, coder: str) -> None:
    prior, weights = make_prior(seed=1), build(SPEC, seed=2).weights()
    ref, _ = load_prior(save_prior(prior, tmp_path))
    differences = {name: weights[name] - prior.tensors[name] for name in weights}
    data = compress(differences, SPEC, IMAGE, dense(SPEC), coder=coder, record=RECORD, prior=ref)
    contents = decompress(data, tmp_path)
    assert (contents.prior, contents.record) == (ref, RECORD)
    alone = compress(differences, SPEC, IMAGE, dense(SPEC), coder=coder)
    for name, values in decompress(alone).weights.items():
        wanted = prior.tensors[name].numpy() + values.numpy()
        assert contents.weights[name].numpy().tobytes() == wanted.tobytes()
        assert float((contents.weights[name] - weights[name]).abs().max()) <= 2.0**-10 * 1.001
    assert info.describe(data)["prior"] == {"id": ref.id, "origin": ORIGIN}
    assert unpack_file(data)[0].spec == SPEC


def modulated_file(ref: PriorRef | None, plan: Plan, spec: ModulatedSpec = MODULATED) -> bytes:
    latents = torch.linspace(-1, 1, spec.num_weights).reshape(spec.rows * spec.columns, -1)
    network = encode_tensors({"latents": latents}, spec, {"latents": plan})
    return pack_file(network, IMAGE, "laws", prior=ref)


@pytest.mark.parametrize("plan", [DensePlan(2.0**-6), SinrPlan(64, 2, 2.0**-10)])
def test_latents_of_an_image(tmp_path: Path, plan: Plan) -> None:
    ref, prior = load_prior(save_prior(make_base(), tmp_path))
    contents = decompress(modulated_file(ref, plan), tmp_path)
    assert contents.spec == MODULATED
    assert contents.weights["latents"].shape == (6, 5)
    assert contents.shared is not None
    assert_same(Prior(SPEC, contents.shared, ORIGIN), prior)


# --- Refusals -----------------------------------------------------------------------------------------------


def repacked(data: bytes, features: int | None = None, **changes: bytes | None) -> bytes:
    """A file with other features, and other payloads (or none) of the sections of these names."""
    file = unpack_container(data)
    tags = {name: tag for tag, name in container.SECTION_NAMES.items()}
    payloads: dict[int, bytes | None] = {**file.payloads, **{tags[name]: v for name, v in changes.items()}}
    kept = {tag: payload for tag, payload in payloads.items() if payload is not None}
    return pack_container(kept, file.features if features is None else features)


def file_named(name: str) -> TinyFile:
    return next(file for file in (*PRIOR_FILES, *FILES) if file.name == name)


@pytest.mark.parametrize(
    ("name", "features", "match"),
    [
        ("difference", 2, "section PRIOR does not fit the features"),
        ("latents", 2 + 32, "section PRIOR does not fit the features"),
        ("latents", 2 + 8 + 16 + 32, "of two kinds"),
        ("image with tables", 1 + 2 + 16, "of two kinds"),
        ("image with tables", 2, "bytes too many"),
        ("image half", 2 + 16, "ends after 14 bytes"),
        ("image half", 2 + 8, "section PRIOR does not fit the features"),
    ],
)
def test_features_that_do_not_fit(name: str, features: int, match: str) -> None:
    with pytest.raises(CorruptFileError, match=match):
        unpack_file(repacked(file_named(name).data(), features))


def test_networks_that_do_not_fit_the_features() -> None:
    network = unpack_container(file_named("image half").data()).payloads[container.NETWORK]
    with pytest.raises(CorruptFileError, match="said to have a feature grid, and has none"):
        unpack_spec(network + b"\0", container.GRID_NETWORK)
    with pytest.raises(CorruptFileError, match="said to need no prior"):
        unpack_spec(network, container.MODULATED)
    with pytest.raises(CorruptFileError, match="a scene is said to build on a prior"):
        unpack_spec(network, container.SCENE | container.PRIOR)


def test_what_is_not_written(tmp_path: Path) -> None:
    ref, _ = load_prior(save_prior(make_prior(), tmp_path))
    with pytest.raises(CorruptFileError, match="said to need no prior"):
        modulated_file(None, DensePlan(1.0))
    scene = file_named("scene without tables")
    with pytest.raises(CorruptFileError, match="a scene is said to build on a prior"):
        pack_file(scene.network(), scene.domain, "laws", prior=ref)
    with pytest.raises(CorruptFileError, match="printable ASCII"):
        modulated_file(PriorRef(ref.id, "é"), DensePlan(1.0))


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        (replace(MODULATED, rows=3), "3 x 3 patches of 2 pixels are not those of"),
        (replace(MODULATED, patch=0), "2 x 3 patches of all pixels are not those of .*; 1 x 1 are due"),
        (replace(MODULATED, base=replace(SPEC, out_features=4)), "maps 2 to 4 values"),
    ],
)
def test_latents_of_another_image_are_refused(spec: ModulatedSpec, match: str) -> None:
    network = CodedNetwork(spec, {"latents": DenseCode(np.zeros((1, 1), np.int32), 1.0)})
    with pytest.raises(CorruptFileError, match=match):
        pack_file(network, IMAGE, "laws", prior=PriorRef("00" * 8, ORIGIN))


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        (
            replace(MODULATED, base=replace(SPEC, activation="wire", sigma=1.0)),
            "a feature grid or complex layers",
        ),
        (
            replace(MODULATED, base=InrSpec(2, 3, 4, 1, grid=GridSpec((2.0,), 1, 4, dims=2))),
            "a feature grid or",
        ),
        (replace(MODULATED, latent_size=4097), "the size of a latent vector is 4097"),
        (replace(MODULATED, latent_size=0), "the size of a latent vector is 0"),
        (replace(MODULATED, patch=65537), "the side of a patch is 65537"),
        (replace(MODULATED, rows=0), "the rows of patches is 0"),
        (replace(MODULATED, columns=65537), "the columns of patches is 65537"),
    ],
)
def test_latents_that_make_no_sense(spec: ModulatedSpec, match: str) -> None:
    with pytest.raises(CorruptFileError, match=match):
        pack_spec(spec)


@pytest.mark.parametrize("domain", [SHAPE, BARE_SCENE])
def test_latents_are_of_images(domain: Domain) -> None:
    file = file_named("latents")
    with pytest.raises(CorruptFileError, match=r"the latents of an image|the networks of a scene"):
        pack_file(file.network(), domain, "laws", prior=file.ref())


def test_more_latents_than_a_file_pays_for() -> None:
    spec = ModulatedSpec(SPEC, 4096, 1, 4096, 4096)
    data = file_named("latents").data()
    domain = header.pack_domain(ImageDomain(4096, 4096, 3))
    with pytest.raises(LimitError, match="the number of weights is 68719476736"):
        unpack_file(repacked(data, NETWORK=pack_spec(spec), DOMAIN=domain))


def test_priors_that_do_not_belong_to_a_file(tmp_path: Path) -> None:
    ref, _ = load_prior(save_prior(make_prior(default_spec(2, 3, 4, 2)), tmp_path))
    plans, weights = dense(SPEC), build(SPEC).weights()
    with pytest.raises(CorruptFileError, match="the prior is of the network"):
        decompress(compress(weights, SPEC, IMAGE, plans, prior=ref), tmp_path)
    ref, _ = load_prior(save_prior(make_prior(), tmp_path))
    with pytest.raises(CorruptFileError, match=r"modulation.weight is None; the file needs \(8, 5\)"):
        decompress(modulated_file(ref, DensePlan(1.0)), tmp_path)
    ref, _ = load_prior(save_prior(make_base(4), tmp_path))
    with pytest.raises(CorruptFileError, match=r"modulation.weight is \(8, 4\); the file needs \(8, 5\)"):
        decompress(modulated_file(ref, DensePlan(1.0)), tmp_path)


@pytest.mark.parametrize(
    "section", [b"1234567", b"12345678\x1b[2J", b"12345678" + b"x" * 201, b"12345678\xe9"]
)
def test_hostile_references(section: bytes) -> None:
    with pytest.raises(CorruptFileError):
        decompress(repacked(file_named("latents").data(), PRIOR=section))


NETWORKS = st.builds(
    InrSpec,
    in_features=st.just(2),
    out_features=st.integers(1, 255),
    width=st.integers(1, 4096),
    hidden_layers=st.integers(0, 64),
    activation=st.sampled_from(["sine", "gauss", "relu"]),
    frequencies=st.integers(0, 32),
)
SIDES = st.integers(1, 1 << 16)
LATENTS = st.builds(
    ModulatedSpec, NETWORKS, st.integers(1, 4096), st.integers(0, 1 << 16), rows=SIDES, columns=SIDES
)
WITH_GRIDS = st.tuples(GRIDS, st.integers(2, 3)).map(
    lambda drawn: InrSpec(drawn[1], 3, 8, 1, grid=replace(drawn[0], dims=drawn[1]))
)


@given(LATENTS | WITH_GRIDS, st.booleans())
def test_network_round_trip(spec: InrSpec | ModulatedSpec, prior: bool) -> None:
    features = features_of(spec) | container.PRIOR * (prior or isinstance(spec, ModulatedSpec))
    assert unpack_spec(pack_spec(spec), features) == spec


@given(
    st.binary(min_size=8, max_size=8),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200),
)
def test_reference_round_trip(number: bytes, origin: str) -> None:
    ref = PriorRef(number.hex(), origin)
    assert PriorRef.unpack(ref.pack()) == ref
