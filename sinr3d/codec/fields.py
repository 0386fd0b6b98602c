"""Fields of the small sections: integers, floats and texts, little-endian. Needs neither torch nor numpy."""

import math
import struct

from sinr3d.errors import CorruptFileError, TruncatedFileError


class Reader:
    """Reads little-endian fields from bytes and refuses to read past their end."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data, self.what, self.position = data, what, 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        if count > len(self.data) - self.position:
            raise TruncatedFileError(
                f"{self.what} ends after {len(self.data)} bytes, {count} more are due at {self.position}"
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def unpack(self, layout: str) -> tuple:
        """The next fields of a struct layout, little-endian."""
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)))

    def varint(self) -> int:
        """An unsigned LEB128 integer of at most 5 bytes, in its shortest form."""
        value = 0
        for index in range(5):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index:
                    raise CorruptFileError(f"{self.what}: an integer is not in its shortest form")
                return value
        raise CorruptFileError(f"{self.what}: an integer is longer than 5 bytes")

    def signed(self) -> int:
        """A signed integer, zigzag-coded: 0, -1, 1, -2, ..."""
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def text(self) -> str:
        """A UTF-8 string of at most 255 bytes behind its length."""
        try:
            return self.take(self.take(1)[0]).decode("utf-8")
        except UnicodeDecodeError as error:
            raise CorruptFileError(f"{self.what}: a text is not UTF-8") from error

    def finish(self) -> None:
        """Refuses bytes that are left over."""
        if self.position != len(self.data):
            raise CorruptFileError(f"{self.what}: {len(self.data) - self.position} bytes too many")


def pack_varint(value: int) -> bytes:
    """Unsigned LEB128; 0 <= value < 2**35."""
    assert 0 <= value < 1 << 35
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def pack_signed(value: int) -> bytes:
    """A signed integer as the varint of its zigzag code."""
    return pack_varint(value << 1 if value >= 0 else (-value << 1) - 1)


def pack_text(text: str) -> bytes:
    """A UTF-8 string behind its length; cut to 255 bytes."""
    data = text.encode("utf-8")[:255].decode("utf-8", "ignore").encode("utf-8")  # whole characters only
    return bytes([len(data)]) + data


def name_of(ids: dict[str, int], number: int, what: str) -> str:
    """The name of an id in a file.

    Raises:
        CorruptFileError: there is none.
    """
    for name, known in ids.items():
        if known == number:
            return name
    raise CorruptFileError(f"{what} {number} is unknown; this reader knows {sorted(ids.values())}")


def float32(value: float) -> float:
    """The nearest number that a binary32 field holds; infinite where it is too large."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
