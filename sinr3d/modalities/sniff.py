"""The format of input that comes without a name."""

from sinr3d.errors import UsageError


def suffix_of(data: bytes, kind: str | None = None) -> str:
    """The suffix that fits the first bytes of a file, for input from a stream.

    Args:
        data: the input.
        kind: "image" or "occupancy" where the caller knows it.

    Raises:
        UsageError: the bytes look like nothing known.
    """
    magics = {
        b"\x89PNG": ".png",
        b"\xff\xd8\xff": ".jpg",
        b"RIFF": ".webp",
        b"BM": ".bmp",
        b"II*\0": ".tif",
        b"MM\0*": ".tif",
        b"P5": ".pgm",
        b"P6": ".ppm",
        b"\x93NUMPY": ".npy",
        b"PK\x03\x04": ".npz",
        b"ply": ".ply",
        b"glTF": ".glb",
        b"OFF": ".off",
        b"solid": ".stl",
    }
    # First, because the header of a binary STL is free text.
    if len(data) >= 84 and len(data) == 84 + 50 * int.from_bytes(data[80:84], "little"):
        return ".stl"
    for magic, suffix in magics.items():
        if data.startswith(magic):
            return suffix
    if kind == "image":
        return ".png"
    if any(line.startswith(b"v ") for line in data[:65536].splitlines()):
        return ".obj"
    raise UsageError("the input on standard input is of no known format; give a file with a suffix")
