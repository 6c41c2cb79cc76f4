"""Finds the store of a path or a URI."""

from __future__ import annotations

import os
from pathlib import Path

from pyarrow import fs

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.redaction import without_secrets
from kinetics_pipeline.storage.local import LocalStore
from kinetics_pipeline.storage.objects import ObjectStore
from kinetics_pipeline.storage.store import Store, one_line


def open_store(uri: str | os.PathLike[str]) -> Store:
    """The store of a path or a URI (`file://`, `s3://`, `gs://`). Touches nothing there.

    Raises UserError for a URI that is none or a file system that there is not.
    """
    text = os.fspath(uri)
    if not text:
        raise UserError("the place of a dataset is empty; allowed: a path or a URI such as s3://bucket/folder")
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
    if not rest.strip("/"):
        raise UserError(f"{text} names no bucket; allowed: a path, s3://bucket/folder, gs://bucket/folder")
    try:
        filesystem, root = fs.FileSystem.from_uri(text)
    except (OSError, ValueError) as e:  # ArrowInvalid is a ValueError
        raise UserError(f"{text}: {one_line(e)}; allowed: a path, s3://bucket/folder, gs://bucket/folder") from None
    return ObjectStore(text.rstrip("/"), filesystem, root.rstrip("/"))
