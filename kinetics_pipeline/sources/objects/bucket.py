"""Ranges of a bucket's objects into a `Piece`, going on from what is there, and what a store's refusal means.

obstore tries again by itself. Each request asks for the object that the first one found (If-Match), so that two
versions of a file are never glued together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError, PreconditionError

from kinetics_pipeline.sources.base import Failure
from kinetics_pipeline.sources.http.byte_allowance import take
from kinetics_pipeline.sources.http.partial_file import Piece
from kinetics_pipeline.storage.object_client import connect
from kinetics_pipeline.storage.store import StoreFailed
from kinetics_pipeline.storage.store import failure as storage_failure

WINDOW = 4 << 20
"""Bytes of one request, which has a minute."""
BLOCK = 1 << 20
RETRY: Any = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}
"""A video may be asked for again later; so obstore gives up sooner than for a dataset's own files."""
SLOW_DOWN = 30.0
"""Seconds for which a store that asks to slow down is left alone; it does not say how long."""
_NOBODY = r"error sending request|onnection (?:refused|reset|closed)|dns error|timed out|tcp connect error"
_MISSING_BUCKET = r"NoSuchBucket|ContainerNotFound|bucket does not exist"


class ObjectRefused(Exception):
    """The store did not give the object."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


class ObjectChanged(Exception):
    """The object is another one than that whose first bytes are at hand."""


class Bucket:
    """Reads one bucket or container, and counts what that takes."""

    def __init__(self, uri: str) -> None:
        """`uri`: `s3://bucket`. Raises UserError for an AWS profile that cannot be used."""
        self.uri = uri
        self._client = connect(uri, long=False, retry=RETRY)
        self.requests = 0
        self.bytes_fetched = 0

    def bring(self, key: str, piece: Piece, until: int | None, limit: int) -> Piece:
        """Brings `piece` to its end, or to at least `until` bytes, and returns what is now known of it. `limit`: bytes
        that the whole object may have.

        Raises ObjectRefused, or ObjectChanged for a section; a whole file is begun anew. The bytes that came stay in
        `piece.part`.
        """
        while not piece.is_whole and (until is None or piece.have < until):
            try:
                piece = self._one_request(key, piece, until, limit)
            except ObjectChanged:
                if piece.shift:
                    raise
                piece.discard()
                piece = replace(piece, total=None, validator=None)
        if piece.is_whole:
            piece.commit()
        return piece

    def look(self, key: str) -> tuple[int, str]:
        """Bytes of an object, and its ETag. Raises ObjectRefused."""
        with self._refusals(key):
            about = obstore.head(self._client, key)
        return int(about["size"]), str(about["e_tag"] or "")

    def read(self, key: str, begin: int, version: str) -> Iterator[bytes]:
        """The bytes of an object from `begin` on, as they come. `version`: the ETag that it must have; empty for any.

        Raises ObjectRefused, ObjectChanged.
        """
        size, found = self.look(key)
        if version and found != version:
            raise ObjectChanged
        while begin < size:
            options: Any = {"range": (begin, min(size, begin + WINDOW))}
            if found:
                options["if_match"] = found
            with self._refusals(key):
                for block in obstore.get(self._client, key, options=options).stream(min_chunk_size=BLOCK):
                    begin += len(block)
                    yield bytes(block)

    def require_there(self, prefix: str) -> None:
        """Raises UserError where there is no such bucket, or the credentials are not known there, WorkRemains where
        they have expired; a right to list is not needed."""
        try:
            next(iter(obstore.list(self._client, prefix or None)), None)
        except (BaseError, FileNotFoundError) as error:
            if refusal(error, self.uri).outcome == "credentials":
                raise storage_failure(f"read {self.uri}", error) from None

    def _one_request(self, key: str, piece: Piece, until: int | None, limit: int) -> Piece:
        if piece.have and not piece.about.exists():
            piece.part.unlink()  # nothing says which object these bytes are of
        start = piece.have + piece.shift
        reach = start + WINDOW if until is None else min(until + piece.shift, start + WINDOW)
        stop = min(edge for edge in (reach, piece.stop, piece.total) if edge is not None)
        options: Any = {"range": (start, stop)}
        if piece.have and piece.validator:
            options["if_match"] = piece.validator
        self.requests += 1
        with self._refusals(key):
            answer = obstore.get(self._client, key, options=options)
            total, version = int(answer.meta["size"]), answer.meta["e_tag"]
            if piece.have and (piece.total, piece.validator) != (total, version):
                raise ObjectChanged
            if total > limit:
                raise ObjectRefused(Failure("no_format", f"the file is larger than {limit} bytes"))
            piece = replace(piece, total=total, validator=version)
            piece.save()
            with piece.part.open("ab", buffering=0) as file:
                for block in answer.stream(min_chunk_size=BLOCK):
                    self.bytes_fetched += len(block)
                    take(len(block))
                    file.write(block)
        return piece

    @contextmanager
    def _refusals(self, key: str) -> Iterator[None]:
        try:
            yield
        except PreconditionError:
            raise ObjectChanged from None
        except (BaseError, FileNotFoundError) as error:
            raise ObjectRefused(refusal(error, f"{self.uri}/{key}")) from None


@cache
def open_bucket(uri: str) -> Bucket:
    """One client a process: it keeps its connections."""
    return Bucket(uri)


def refusal(error: Exception, place: str) -> Failure:
    """What an error of obstore means, by the rules that hold for files over HTTP (`http.status`). What concerns all
    objects of the place, such as credentials that have expired, is `credentials`."""
    text = str(error)
    if isinstance(error, NotFoundError | FileNotFoundError) and not re.search(_MISSING_BUCKET, text):
        return Failure("not_found", "HTTP 404 Not Found")
    if re.search(r"SlowDown|status code: 429|status code: 503", text):
        return Failure("throttled", "the store asked to slow down", wait=SLOW_DOWN)
    if re.search(r"InvalidRange|status code: 416|out of range|start is beyond", text, re.IGNORECASE):
        return Failure("decode", "the object is empty, or shorter than it was")
    if re.search(r"AccessDenied|AuthorizationPermissionMismatch", text):
        return Failure("private", "the credentials do not allow it")
    meant = storage_failure(f"read {place}", error)
    if not isinstance(meant, StoreFailed):
        return Failure("credentials", str(meant).partition(", and run the same command")[0])
    status = re.search(r"status code: (5\d\d[^:.,\n]{0,40})", text)
    if status is not None:
        return Failure("network", f"HTTP {status[1].strip()}")
    if re.search(_NOBODY, text):
        return Failure("network", "the connection failed", unreachable=True)
    return Failure("network", "the request failed")
