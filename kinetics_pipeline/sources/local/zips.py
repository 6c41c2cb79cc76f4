"""Members of a zip file: where each begins, and its bytes (APPNOTE.TXT, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT).

The list at a zip's end says what lies where. Where it is lost, with the end of a file that is cut off, the members
before are found by the headers that stand before each.
"""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import counted

_HEADER = struct.Struct("<4sHHHHHIIIHH")
"""The header before each member: signature, version, flags, method, time, date, CRC, then the sizes of the packed and
the unpacked bytes, of the name and of the extra field."""
_SIGNATURE = b"PK\x03\x04"
_DESCRIPTOR = b"PK\x07\x08"
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 1, 8, 0x800
_STORED, _DEFLATED = 0, 8
_IN_EXTRA, _ZIP64 = 0xFFFFFFFF, 1
"""The size that stands for one in an extra field, and that field's kind."""
BLOCK = 1 << 20


def members(stream: IO[bytes], shown: str) -> tuple[list[tuple[str, int, int]], str]:
    """(name, offset of its header, bytes unpacked) of each file, and how the end was lost; empty for a sound archive.

    Raises UserError for what is not a zip file.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            infos = [one for one in archive.infolist() if not one.is_dir() and not _is_link(one)]
            usable = [one for one in infos if _is_usable(one.flag_bits, one.compress_type)]
            unread = counted(len(infos) - len(usable), "file in it is", "files in it are")
            damage = f"{unread} encrypted or packed in a way that is not read"
            found = [(one.filename, one.header_offset, one.file_size) for one in usable]
            return found, damage if len(usable) < len(infos) else ""
    except (zipfile.BadZipFile, NotImplementedError, EOFError, ValueError):
        stream.seek(0)
        if stream.read(4) != _SIGNATURE:
            raise UserError(f"source {shown!r} is not a zip file") from None
        return list(_by_headers(stream)), "the list at its end is lost"


def unpack(stream: IO[bytes], offset: int, size: int) -> Iterator[bytes]:
    """The bytes of the member whose header lies at `offset`. Raises zlib.error or EOFError when they are damaged."""
    stream.seek(offset)
    _, _, flags, method, _, _, crc, _, _, name, extra = _HEADER.unpack(_exactly(stream, _HEADER.size))
    stream.seek(name + extra, 1)
    computed = 0
    if method == _STORED:
        for block in _blocks(stream, size):
            computed = zlib.crc32(block, computed)
            yield block
        follows = b""
    else:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        left = size
        while not inflate.eof:
            packed_block = inflate.unconsumed_tail or stream.read(BLOCK)
            if not packed_block:
                raise EOFError("it ends inside a member")
            block = inflate.decompress(packed_block, BLOCK)
            left -= len(block)
            if left < 0:
                raise EOFError("a member is larger than its header says")
            computed = zlib.crc32(block, computed)
            yield block
        follows = inflate.unused_data
    if flags & _SIZES_FOLLOW:
        follows += stream.read(8)
        crc = struct.unpack("<I", follows[4:8] if follows[:4] == _DESCRIPTOR else follows[:4])[0]
    if computed != crc:
        raise zlib.error("its CRC does not match")


def _by_headers(stream: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """The members of an archive without its list, up to the first whose size its header does not say."""
    end = stream.seek(0, 2)
    offset = 0
    while offset + _HEADER.size < end:
        stream.seek(offset)
        signature, _, flags, method, _, _, _, packed, size, name, extra = _HEADER.unpack(_exactly(stream, _HEADER.size))
        if signature != _SIGNATURE:
            return
        called = stream.read(name).decode("utf-8" if flags & _UTF8 else "cp437", "replace")
        size, packed = _large(size, packed, stream.read(extra))
        if flags & _SIZES_FOLLOW and not packed:
            return
        if not called.endswith("/") and _is_usable(flags, method):
            yield called, offset, size
        offset += _HEADER.size + name + extra + packed


def _large(size: int, packed: int, extra: bytes) -> tuple[int, int]:
    """The sizes of a member as its zip64 extra field gives them, where its header cannot (4.5.3)."""
    if _IN_EXTRA not in (size, packed):
        return size, packed
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64 and length >= 16 and at + 20 <= len(extra):
            return struct.unpack_from("<QQ", extra, at + 4)
        at += 4 + length
    return size, packed


def _is_link(info: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(info.external_attr >> 16)


def _is_usable(flags: int, method: int) -> bool:
    return not flags & _ENCRYPTED and method in (_STORED, _DEFLATED)


def _blocks(stream: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0:
        block = stream.read(min(BLOCK, size))
        if not block:
            raise EOFError("it ends inside a member")
        size -= len(block)
        yield block


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("it ends inside a header")
    return data
