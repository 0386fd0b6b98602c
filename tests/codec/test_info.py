"""What a file says of itself."""

import json
import subprocess
import sys

import pytest
from tiny_files import FILES, LARGE_FILES, RECORD, SCENE, SHAPE, TinyFile

from sinr3d.codec.container import pack_container, unpack_container
from sinr3d.codec.info import describe
from sinr3d.errors import CorruptFileError, SinrError
from sinr3d.inr.spec import ModulatedSpec, SceneSpec


@pytest.mark.parametrize("file", FILES + LARGE_FILES, ids=lambda file: file.name)
def test_describe(file: TinyFile) -> None:
    data = file.data()
    facts = describe(data)
    assert json.loads(json.dumps(facts, allow_nan=False)) == json.loads(json.dumps(facts))
    assert facts["kind"] == file.domain.kind
    assert facts["bytes"] == len(data) == sum(facts["sections"].values())
    assert facts["coder"] == file.coder
    assert facts["weights"] == file.spec.num_weights
    networks = facts["networks"] if "networks" in facts else {"": facts["network"]}
    specs = dict(file.spec.networks) if isinstance(file.spec, SceneSpec) else {"": file.spec}
    for role, network in specs.items():
        spec = network.base if isinstance(network, ModulatedSpec) else network
        assert networks[role]["activation"] == spec.activation
        assert networks[role]["width"] == spec.width
        assert ("grid" in networks[role]) == (spec.grid is not None)
    assert list(networks) == list(specs)
    assert ("SUPPORTS" in facts["sections"]) == bool(file.sparse_roles)
    assert ("record" in facts) == (file.record is not None)
    assert ("bpp" in facts) == (file.domain.kind == "image")
    assert ("grid" in facts) == (file.resolution > 0)
    assert 0 < facts["overhead_bytes"] < (400 if file.domain.kind == "nerf" else 170)


def test_the_facts_of_a_shape() -> None:
    facts = describe(FILES[3].data())
    assert facts["format_version"] == 1
    assert tuple(facts["domain"]["center"]) == SHAPE.center
    assert facts["domain"]["units"] == "mm"
    assert facts["record"]["score"] == RECORD.score
    assert facts["record"]["writer"] == "0.1.0"
    assert facts["sections"]["head"] == 7


def test_the_facts_of_a_scene() -> None:
    facts = describe(FILES[10].data())
    assert list(facts["networks"]) == ["field", "color", "proposal.0"]
    field, color = facts["networks"]["field"], facts["networks"]["color"]
    assert field["grid"] == {
        "scales": (2.5, 5.0),
        "features": 2,
        "log2_entries": 4,
        "layout": "hashed",
        "dims": 3,
    }
    assert "grid" not in color
    assert facts["domain"]["box"] == SCENE.box
    assert facts["domain"]["contraction"] == "none"
    assert facts["domain"]["cameras"]["poses"] == 2
    assert facts["grid"] == {"resolution": 5}
    assert {"TABLES", "GRID"} <= set(facts["sections"])


@pytest.mark.parametrize("tag", [1, 2, 3, 4])
def test_a_missing_section_is_named(tag: int) -> None:
    payloads = {t: p for t, p in unpack_container(FILES[0].data()).payloads.items() if t != tag}
    with pytest.raises(CorruptFileError, match="the file has no section"):
        describe(pack_container(payloads))


def test_truncated_files_are_refused() -> None:
    data = FILES[4].data()
    for length in range(len(data)):
        with pytest.raises(SinrError):
            describe(data[:length])


@pytest.mark.parametrize("index", [0, 10])
def test_neither_torch_nor_numpy_is_imported(index: int) -> None:
    code = (
        "import sys; from sinr3d.codec.info import describe; describe(bytes.fromhex(sys.argv[1])); "
        "print(sorted({'torch', 'numpy', 'constriction', 'brotli'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, FILES[index].data().hex()], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
