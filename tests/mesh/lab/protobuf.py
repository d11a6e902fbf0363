"""As much of protobuf as discovery of secrets needs: fields of bytes. The rest is passed over."""

from __future__ import annotations

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def message(*given: tuple[int, bytes]) -> bytes:
    """Fields by number, in this order."""
    return b"".join(_varint(number << 3 | _BYTES) + _varint(len(data)) + data for number, data in given)


def fields(data: bytes) -> dict[int, list[bytes]]:
    """The values of each field of bytes. Raises ValueError or IndexError for what is no message."""
    found: dict[int, list[bytes]] = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        if tag & 7 == _BYTES:
            size, at = _read_varint(data, at)
            found.setdefault(tag >> 3, []).append(data[at : at + size])
            at += size
        elif tag & 7 == _VARINT:
            _, at = _read_varint(data, at)
        elif tag & 7 in (_FIXED64, _FIXED32):
            at += 8 if tag & 7 == _FIXED64 else 4
        else:
            raise ValueError(f"no field of a known kind: {tag}")
    return found


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
