"""Finds the store of a path or a URI."""

from __future__ import annotations

import os
from pathlib import Path

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import without_secrets
from kinetics_pipeline.storage.local import LocalStore
from kinetics_pipeline.storage.store import Store

_ALLOWED = "allowed: a path, s3://bucket/folder, gs://bucket/folder, az://container/folder"


def open_store(uri: str | os.PathLike[str]) -> Store:
    """The store of a path or a URI (`file://`, `s3://`, `gs://`, `az://`). Touches nothing there.

    Raises UserError for a URI that is malformed or of another kind.
    """
    text = os.fspath(uri)
    if not text:
        raise UserError(f"the place of a dataset is empty; {_ALLOWED}")
    scheme, separator, rest = text.partition("://")
    if not separator:
        return LocalStore(str(Path(text).expanduser().absolute()))
    if scheme == "file":
        if not rest.startswith("/"):
            raise UserError(f"{text}: a file URI is file:///absolute/path")
        return LocalStore(rest)
    if "@" in rest.partition("/")[0]:
        raise UserError(
            f"{without_secrets(text)} names an account, which would be stored with the dataset; credentials belong in "
            "the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or a profile"
        )
    from kinetics_pipeline.storage.object_client import SCHEMES

    if scheme not in SCHEMES:
        raise UserError(f"{without_secrets(text)} is of an unknown kind; {_ALLOWED}")
    if not rest.strip("/"):
        raise UserError(f"{text} names no bucket; {_ALLOWED}")
    if "?" in rest or "#" in rest:
        raise UserError(
            f"{without_secrets(text)} has a query or a fragment; {_ALLOWED}; regions and endpoints belong in the "
            "environment (AWS_REGION, AWS_ENDPOINT_URL)"
        )
    from kinetics_pipeline.storage.objects import ObjectStore

    return ObjectStore(text.rstrip("/"))
