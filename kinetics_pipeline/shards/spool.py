"""Finished clips that wait on this machine's disk for their shard: what makes a killed run lose minutes."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

from kinetics_pipeline.records import CLIP_ID, Record
from kinetics_pipeline.storage.cache import make_private
from kinetics_pipeline.storage.local import new_file

_MAGIC = b"kpspool1"
_HEADER = struct.Struct("<8sII")
"""Magic, CRC-32 of all that follows, bytes of the record; then the record as JSON, then the payload."""


class Spool:
    """A folder with a file for each clip that is done, whatever its outcome. Safe for many processes at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, record: Record, payload: bytes) -> None:
        """Keeps a finished clip: whole and durable, or not at all. The payload of a clip that failed is `b""`."""
        document = json.dumps(record.to_json()).encode()
        crc = zlib.crc32(payload, zlib.crc32(document, zlib.crc32(struct.pack("<I", len(document)))))
        path = self.path(record.clip_id)
        make_private(self.folder)
        with new_file(path) as out:
            out.write(_HEADER.pack(_MAGIC, crc, len(document)))
            out.write(document)
            out.write(payload)

    def get(self, clip_id: str) -> tuple[Record, bytes] | None:
        """The clip, or None. A file that is damaged counts as absent, and is removed so that the clip is made again."""
        path = self.path(clip_id)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        found = _parse(data)
        if found is None or found[0].clip_id != clip_id:
            path.unlink(missing_ok=True)
            return None
        return found

    def ids(self) -> set[str]:
        """The clips that have a file, damaged or not."""
        if not self.folder.is_dir():
            return set()
        return {path.name[: -len(".00000000.clip")] for path in self.folder.glob("*.clip")}

    def remove(self, clip_id: str) -> None:
        """Forgets a clip, once its shard is committed; nothing when there is none."""
        self.path(clip_id).unlink(missing_ok=True)

    def clear(self) -> None:
        """Forgets every clip, and what killed writers left."""
        for pattern in ("*.clip", ".*.tmp"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)

    def path(self, clip_id: str) -> Path:
        """Where the file of a clip lies, whether it is there or not. Raises ValueError for what is not a clip id."""
        if not CLIP_ID.fullmatch(clip_id):
            raise ValueError(f"{clip_id!r} is not a clip id")
        # YouTube's ids differ by case alone, and some file systems do not: the CRC keeps their files apart.
        return self.folder / f"{clip_id}.{zlib.crc32(clip_id.encode()):08x}.clip"


def _parse(data: bytes) -> tuple[Record, bytes] | None:
    if len(data) < _HEADER.size:
        return None
    magic, crc, size = _HEADER.unpack_from(data)
    if magic != _MAGIC or crc != zlib.crc32(memoryview(data)[_HEADER.size :], zlib.crc32(struct.pack("<I", size))):
        return None
    document = data[_HEADER.size : _HEADER.size + size]
    try:
        return Record.from_json(json.loads(document)), data[_HEADER.size + size :]
    except (ValueError, TypeError):  # another version's record
        return None
