"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), which TensorFlow's checkpoints carry for every block and tensor."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

_POLYNOMIAL = 0x82F63B78
"""Bit-reversed."""
_MASK_DELTA = 0xA282EAD8


@functools.cache
def _table() -> npt.NDArray[np.uint32]:
    """CRC of each byte."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ _POLYNOMIAL, table >> 1).astype(np.uint32)
    return table


@functools.cache
def _compiled() -> Callable[..., Any]:
    """`_run` as machine code: a checkpoint has 50 MB, for which Python alone would take a minute."""
    from numba import njit  # here, not above: whoever reads no TensorFlow file does without

    compiled: Callable[..., Any] = njit(nogil=True)(_run)
    return compiled


def _run(data: npt.NDArray[np.uint8], table: npt.NDArray[np.uint32]) -> np.uint32:
    crc = np.uint32(0xFFFFFFFF)
    for byte in data:
        crc = table[(crc ^ byte) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    return crc ^ np.uint32(0xFFFFFFFF)


def crc32c(data: bytes | npt.NDArray[np.uint8]) -> int:
    view = np.frombuffer(data, dtype=np.uint8) if isinstance(data, bytes) else data
    return int(_compiled()(view, _table()))


def masked_crc32c(data: bytes | npt.NDArray[np.uint8]) -> int:
    """The CRC as it is stored: rotated and shifted, so that data that holds CRCs can have one too (tsl, crc32c.h)."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
