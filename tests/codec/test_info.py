"""What a file says of itself."""

import json
import subprocess
import sys

import pytest
from tiny_files import FILES, LARGE_FILES, RECORD, SHAPE, TinyFile

from sinr3d.codec.container import pack_container, unpack_container
from sinr3d.codec.info import describe
from sinr3d.errors import CorruptFileError, SinrError


@pytest.mark.parametrize("file", FILES + LARGE_FILES, ids=lambda file: file.name)
def test_describe(file: TinyFile) -> None:
    data = file.data()
    facts = describe(data)
    assert json.loads(json.dumps(facts, allow_nan=False)) == json.loads(json.dumps(facts))
    assert facts["kind"] == file.domain.kind
    assert facts["bytes"] == len(data) == sum(facts["sections"].values())
    assert facts["coder"] == file.coder
    assert facts["weights"] == file.spec.num_weights
    assert facts["network"]["activation"] == file.spec.activation
    assert facts["network"]["width"] == file.spec.width
    assert ("SUPPORTS" in facts["sections"]) == bool(file.sparse_roles)
    assert ("record" in facts) == (file.record is not None)
    assert ("bpp" in facts) == (file.domain.kind == "image")
    assert 0 < facts["overhead_bytes"] < 170


def test_the_facts_of_a_shape() -> None:
    facts = describe(FILES[3].data())
    assert facts["format_version"] == 1
    assert tuple(facts["domain"]["center"]) == SHAPE.center
    assert facts["domain"]["units"] == "mm"
    assert facts["record"]["score"] == RECORD.score
    assert facts["record"]["writer"] == "0.1.0"
    assert facts["sections"]["head"] == 7


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


def test_neither_torch_nor_numpy_is_imported() -> None:
    code = (
        "import sys; from sinr3d.codec.info import describe; describe(bytes.fromhex(sys.argv[1])); "
        "print(sorted({'torch', 'numpy', 'constriction', 'brotli'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, FILES[0].data().hex()], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
