"""The small JSON documents in a dataset's `state/`."""

from __future__ import annotations

import json
from typing import Any

from kinetics_pipeline.errors import JobFailed
from kinetics_pipeline.shards.storage import Store

RUN = "state/run.json"
"""The last command that worked on the dataset (`command`), and what was asked of it (`config`)."""


def read_state(store: Store, name: str) -> dict[str, Any] | None:
    """None when there is none. Raises JobFailed, one line, when it is damaged."""
    try:
        document = json.loads(store.read(name))
    except FileNotFoundError:
        return None
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise JobFailed(f"{store.uri}/{name} is damaged; it holds no clips: remove it, and it is written anew")
    return document
