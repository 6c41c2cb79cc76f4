"""What the units of an H.264 string are, read without decoding (ITU-T H.264, 7.3.1, 7.3.2.1.1 and annex B)."""

from __future__ import annotations

_SPS, _PPS, _IDR, _OTHER = 7, 8, 5, 1
"""Types of units: the two parameter sets, a slice of a key frame, a slice of another frame (table 7-1)."""
_HIGH = 100
"""The profile that x264 writes: 4:2:0, 8 bits (A.2.4)."""
_MOST_REFERENCES = 16
_MOST_SETS = 1024
"""Bytes of both parameter sets; x264 writes about 40."""
_START = b"\0\0\1"


def split_units(data: bytes) -> list[bytes]:
    """The units of a string, without their start codes."""
    return [unit.rstrip(b"\0") for unit in data.split(_START)[1:]]


def units_of_chunk(data: bytes, count: int, height: int, width: int) -> list[bytes]:
    """A chunk's string as one piece for each of its `count` frames, the first with the parameter sets.

    Raises ValueError unless it is just so: both sets, then a slice for each frame of which the first is a key frame,
    of 4:2:0 and 8 bits, whole frames of `height` x `width` (padded to even numbers).
    """
    if data[:4] != b"\0\0\0\1" or data.count(_START) != count + 2:
        raise ValueError(f"{data.count(_START)} units of H.264 where {count} frames have {count + 2}")
    sps, pps, *slices = units = split_units(data)
    kinds = [unit[0] & 31 if unit else 0 for unit in units]
    if kinds != [_SPS, _PPS, _IDR, *[_OTHER] * (count - 1)]:
        raise ValueError("units of H.264 of other kinds than a chunk has")
    if len(sps) + len(pps) > _MOST_SETS:
        raise ValueError(f"{len(sps) + len(pps)} bytes of H.264 parameters; allowed: up to {_MOST_SETS}")
    found = coded_size(sps)
    wanted = (height + height % 2, width + width % 2)
    if found != wanted:
        raise ValueError(f"H.264 of {found[0]}x{found[1]} where the row says {height}x{width}")
    code = b"\0\0\0\1"
    return [code + sps + code + pps + code + slices[0], *(code + one for one in slices[1:])]


def coded_size(sps: bytes) -> tuple[int, int]:
    """Height and width of the frames that a sequence parameter set announces, once cropped.

    Raises ValueError for what x264 does not write: another profile, fields, a cropping of 16 or more.
    """
    bits = _Bits(sps[1:].replace(b"\0\0\3", b"\0\0"))
    profile, _, _ = bits.fixed(8), bits.fixed(8), bits.fixed(8)
    bits.golomb()  # its id
    if profile != _HIGH or (bits.golomb(), bits.golomb(), bits.golomb()) != (1, 0, 0):
        raise ValueError("H.264 of another profile than High, 4:2:0, 8 bits")
    if bits.fixed(2):
        raise ValueError("H.264 with scaling matrices")
    bits.golomb()
    order = bits.golomb()
    if order == 1:
        raise ValueError("H.264 with another order of pictures")
    if order == 0:
        bits.golomb()
    references = bits.golomb()
    bits.fixed(1)
    across, down = bits.golomb() + 1, bits.golomb() + 1
    if not bits.fixed(1) or references > _MOST_REFERENCES:
        raise ValueError("H.264 of fields, or with too many references")
    bits.fixed(1)
    left, right, top, bottom = [bits.golomb() for _ in range(4)] if bits.fixed(1) else [0] * 4
    if left or top or right > 7 or bottom > 7:  # in units of two rows and columns
        raise ValueError("H.264 that is cropped by more than a block")
    return 16 * down - 2 * bottom, 16 * across - 2 * right


class _Bits:
    def __init__(self, data: bytes) -> None:
        self._bits, self._at = "".join(f"{byte:08b}" for byte in data[:64]), 0

    def fixed(self, count: int) -> int:
        """u(n)."""
        begin, self._at = self._at, self._at + count
        if self._at > len(self._bits):
            raise ValueError("H.264 whose parameters end early")
        return int(self._bits[begin : self._at], 2)

    def golomb(self) -> int:
        """ue(v) (9.1)."""
        one = self._bits.find("1", self._at)
        if one < 0 or one - self._at > 16:
            raise ValueError("H.264 whose parameters are too large")
        zeros, self._at = one - self._at, one
        return self.fixed(zeros + 1) - 1
