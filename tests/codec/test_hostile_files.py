"""Ten thousand damaged and hostile files: each decodes or is refused, soon and in little memory."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_files import FILES, LARGE_FILES, PRIOR_FILES

from sinr3d.codec.container import pack_container, unpack_container

_SCRIPT = """
import os, resource, sys, tempfile, time
sys.path[:0] = [sys.argv[1]]
from test_hostile_files import mutated_files
from tiny_files import FILES, LARGE_FILES, PRIOR_FILES
import numpy as np
from sinr3d.codec import info
from sinr3d.codec.pipeline import Contents, decompress
from sinr3d.codec.prior import save_prior
from sinr3d.errors import SinrError

folder = tempfile.TemporaryDirectory()
os.environ["SINR3D_PRIORS"] = folder.name
for file in PRIOR_FILES:
    save_prior(file.prior, folder.name)
for file in FILES + LARGE_FILES + PRIOR_FILES:
    decompress(file.data())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
slowest, decoded, refused = 0.0, 0, 0
np.seterr(all="raise", under="ignore")
for number, data in enumerate(mutated_files(int(sys.argv[2]), int(sys.argv[3]))):
    start = time.process_time()
    try:
        contents = decompress(data)
        assert isinstance(contents, Contents)
        assert all(bool(value.isfinite().all()) for value in contents.weights.values())
        info.describe(data)
        decoded += 1
    except SinrError as error:
        assert str(error)
        refused += 1
    except BaseException as error:
        sys.exit(f"file {number}: {error!r} from {data.hex()}")
    seconds = time.process_time() - start
    if seconds > slowest:
        slowest = seconds
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(decoded, refused, slowest, grown)
"""


def mutated_files(count: int, seed: int) -> list[bytes]:
    """Valid files with edits of every sort, most of them sealed again with right checksums."""
    rng = random.Random(seed)
    small = [file.data() for file in (*FILES, *PRIOR_FILES)]
    large = [file.data() for file in LARGE_FILES]
    ways = [_edit, _truncate, _splice, _edit_payloads, _edit_payloads, _edit_payloads, _swap_payloads]
    files = []
    for _ in range(count):
        pool = large if rng.random() < 0.03 else small
        files.append(rng.choice(ways)(rng, pool))
    return files


def _edit(rng: random.Random, pool: list[bytes]) -> bytes:
    return _edited(rng, rng.choice(pool))


def _truncate(rng: random.Random, pool: list[bytes]) -> bytes:
    data = rng.choice(pool)
    return data[: rng.randrange(len(data))]


def _splice(rng: random.Random, pool: list[bytes]) -> bytes:
    one, two = rng.choice(pool), rng.choice(pool)
    return one[: rng.randrange(len(one))] + two[rng.randrange(len(two)) :]


def _edit_payloads(rng: random.Random, pool: list[bytes]) -> bytes:
    file = unpack_container(rng.choice(pool))
    payloads = file.payloads
    for tag in rng.sample(list(payloads), rng.choice((1, 1, 1, 2))):
        payloads[tag] = _edited(rng, payloads[tag])
    refinements = file.refinements.present if file.refinements else ()
    return pack_container(payloads, file.features, [_sometimes_edited(rng, part) for part in refinements])


def _sometimes_edited(rng: random.Random, data: bytes) -> bytes:
    return _edited(rng, data) if rng.random() < 0.3 else data


def _swap_payloads(rng: random.Random, pool: list[bytes]) -> bytes:
    files = [unpack_container(rng.choice(pool)) for _ in range(2)]
    one, two = (file.payloads for file in files)
    kept = {tag: payload for tag, payload in (one | two).items() if rng.random() < 0.97}
    for tag in kept:
        kept[tag] = rng.choice((one, two)).get(tag, kept[tag])
    head = rng.choice(files)
    refinements = rng.choice([file for file in files if file.refinements] or [head]).refinements
    return pack_container(kept, head.features, refinements.present if refinements else [b"\1"])


def _edited(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(out) + 1)
        way = rng.randrange(5)
        if way == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif way == 1 and at < len(out):
            out[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        elif way == 2:
            out[at:at] = rng.choice(
                (b"\xff\xff\x03", b"\0", b"\x80\x80\x04", rng.randbytes(rng.randrange(1, 9)))
            )
        elif way == 3:
            del out[at : at + rng.randrange(1, 5)]
        else:
            out[at : at + 4] = rng.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff" * 4, b"\0" * 4))
    return bytes(out)


def _run(count: int, seed: int) -> tuple[int, int, float, float]:
    command = [sys.executable, "-c", _SCRIPT, str(Path(__file__).parent), str(count), str(seed)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    decoded, refused, slowest, grown = run.stdout.split()
    return int(decoded), int(refused), float(slowest), float(grown)


def test_ten_thousand_hostile_files() -> None:
    decoded, refused, slowest_s, grown_mib = _run(10_000, 0)
    assert decoded > 300
    assert refused > 5000
    assert slowest_s < 1
    assert grown_mib < 200


@pytest.mark.slow
def test_a_hundred_thousand_hostile_files() -> None:
    decoded, _, slowest_s, grown_mib = _run(100_000, 1)
    assert decoded > 3000
    assert slowest_s < 1
    assert grown_mib < 200
