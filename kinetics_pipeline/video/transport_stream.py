"""Whether an MPEG transport stream says why its clock jumps ahead (ISO/IEC 13818-1, 2.4.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kinetics_pipeline.video.packets import MICROSECONDS

PACKET = 188
SYNC = 0x47
_PAT = 0
_TICKS = 2**33
_NEAR = 4
"""Pictures and pieces of sound after an indicator for which it counts: each stream has its own."""


@dataclass(frozen=True)
class _Packet:
    pid: int
    counter: int
    discontinuity: bool
    """The adaptation field's `discontinuity_indicator`."""
    unit_start: bool
    stamp: int | None
    """The PTS of the picture or sound that begins here, 90 kHz."""


def says_why(path: Path, microseconds: int) -> bool:
    """Whether there is a reason in the file for the clock to jump to this time: the packets before the picture carry
    the discontinuity indicator, or a new recording begins there: after a program table every counter starts at 0."""
    wanted = round(microseconds * 90_000 / MICROSECONDS) % _TICKS
    marked = 0
    restarted: set[int] = set()
    for packet in _packets(path):
        if packet.pid == _PAT:
            restarted = {_PAT} if packet.counter == 0 else set()
        elif packet.counter == 0 and packet.unit_start and _PAT in restarted:
            restarted.add(packet.pid)
        if packet.discontinuity:
            marked = _NEAR
        if packet.stamp is not None:
            if abs(packet.stamp - wanted) <= 90_000 // 2 and (marked or packet.pid in restarted):
                return True
            marked = max(0, marked - 1)
    return False


def payloads(path: Path) -> list[bytes]:
    """The bytes that the packets of each stream carry, joined."""
    streams: dict[int, bytearray] = {}
    for data in _raw_packets(path):
        if data[3] & 0x10:
            begin = 4 + (1 + data[4] if data[3] & 0x20 else 0)
            streams.setdefault((data[1] & 0x1F) << 8 | data[2], bytearray()).extend(data[begin:PACKET])
    return [bytes(stream) for stream in streams.values()]


def _packets(path: Path) -> Iterator[_Packet]:
    """The packets that begin a picture, a piece of sound or a table, or mark a discontinuity, or hold the programs."""
    for data in _raw_packets(path):
        unit_start, has_adaptation_field = bool(data[1] & 0x40), bool(data[3] & 0x20) and data[4] > 0
        pid = (data[1] & 0x1F) << 8 | data[2]
        discontinuity = has_adaptation_field and bool(data[5] & 0x80)
        if unit_start or discontinuity or pid == _PAT:
            yield _Packet(pid, data[3] & 0x0F, discontinuity, unit_start, _stamp(data) if unit_start else None)


def packets_begin(path: Path) -> tuple[int, int] | None:
    """Where the first two packets in a row begin, and their distance: M2TS has four bytes before each. None where there
    are none."""
    with path.open("rb") as file:
        head = file.read(4 * (PACKET + 4))
    found = [
        (start, size)
        for size in (PACKET, PACKET + 4)
        for start in range(size)
        if head[start : start + 1] == head[start + size : start + size + 1] == bytes([SYNC])
    ]
    return found[0] if found else None


def _raw_packets(path: Path) -> Iterator[bytes]:
    """The packets from the first two sync bytes in a row."""
    begin = packets_begin(path)
    if begin is None:
        return
    start, size = begin
    with path.open("rb") as file:
        file.seek(start)
        while len(data := file.read(size)) >= PACKET:
            if data[0] != SYNC:
                continue
            yield data


def _stamp(data: bytes) -> int | None:
    """The PTS in the header of a PES packet that begins in this transport packet."""
    payload = 4 + (1 + data[4] if data[3] & 0x20 else 0)
    pes = data[payload : payload + 14]
    if len(pes) < 14 or pes[:3] != b"\x00\x00\x01" or not pes[7] & 0x80:
        return None
    high, middle, low = pes[9] >> 1 & 7, (pes[10] << 8 | pes[11]) >> 1, (pes[12] << 8 | pes[13]) >> 1
    return high << 30 | middle << 15 | low
