"""A viewer that serves a dataset on loopback, and what it answers."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.records import clip_id
from kinetics_pipeline.workflows.datasets.viewer.server import ViewerServer
from kinetics_pipeline.workflows.datasets.viewer.view import DatasetView

HOSTILE = "up</script><img src=x onerror='window.hurt = 1'>"
COUNT, FRAMES = 54, 20
FAILED = {clip_id(f"v{k:03d}", k, k + 10): outcome for k, outcome in ((1, "gone"), (2, "gone"), (7, "private"))}


@contextmanager
def serving(dataset: Dataset, marks: Path, *runs: Path) -> Iterator[ViewerServer]:
    view = DatasetView(dataset, [run / "evaluation-val-predictions.parquet" for run in runs], marks)
    with ViewerServer(view, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        view.begin()
        while not asked(server, "api/about")["ready"]:
            pass
        yield server
        server.shutdown()
        thread.join()


def answer(
    server: ViewerServer, path: str, *, method: str = "GET", body: str | None = None, **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        got = connection.getresponse()
        return got.status, dict(got.headers), got.read()
    finally:
        connection.close()


def below(server: ViewerServer, path: str, **query: Any) -> str:
    return f"/{server.token}/{path}" + (f"?{urlencode(query)}" if query else "")


def asked(server: ViewerServer, path: str, **query: Any) -> Any:
    status, _, body = answer(server, below(server, path, **query))
    assert status == 200, body
    return json.loads(body)


def stored(dataset: Dataset, clip: str) -> dict[str, list[bytes]]:
    """The images of a clip as any reader of Parquet finds them."""
    (split,) = {file.name.split("/")[1].rpartition("-")[0] for file in dataset.marker_files()} - {"val"}
    tables = [pq.read_table(path) for path in sorted(Path(dataset.store.uri, "shards").glob("*.parquet"))]
    rows = pa.concat_tables(tables).to_pylist()
    mine = sorted((row for row in rows if row["clip_id"] == clip), key=lambda row: row["chunk"])
    assert split == "train"
    return {stream: [image for row in mine for image in row[stream]] for stream in ("rgb", "flow")}
