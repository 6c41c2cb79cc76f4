"""How many requests an object store gets from what is done with a dataset, counted at a server of the S3 protocol.

    python -m kinetics_pipeline.workflows.benchmarks.requests [--shards 1000 10000]

A listing gives a thousand names a request, so 10,000 shards (a marker and a data file each) are 20 requests for whoever
looks at all of them. The bars: `status` and a cold ClipDataset under 100, a build of one clip under 200.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from kinetics_pipeline.dataset.dataset import Dataset
from kinetics_pipeline.dataset.marker_index import INDEX
from kinetics_pipeline.loading import ClipDataset
from kinetics_pipeline.video.ffmpeg import executable
from kinetics_pipeline.workflows.benchmarks import scale
from kinetics_pipeline.workflows.datasets.status import status

BARS = {"status": 100, "ClipDataset, cold": 100, "build of one clip": 200}
BUCKET = "counted"
_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}


@dataclass
class CountedS3:
    """An S3 server of this process, in memory, and the requests it got, by method; a listing is a LIST."""

    endpoint: str
    seen: Counter[str] = field(default_factory=Counter)

    def fill(self, folder: Path, prefix: str) -> None:
        """Puts a dataset's files into the bucket without requests; of data files a byte."""
        from moto.s3.models import s3_backends

        backend = s3_backends["123456789012"]["aws"]
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            data = b"0" if path.suffix in (".parquet", ".arrow") and path.parent.name == "shards" else path.read_bytes()
            backend.put_object(BUCKET, f"{prefix}/{path.relative_to(folder)}", data)


@contextmanager
def counted_s3() -> Iterator[CountedS3]:
    """An S3 server that counts its requests, with the environment that leads clients to it."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import WSGIRequestHandler, make_server

    application: Any = DomainDispatcherApplication(create_backend_app)
    server_of: list[CountedS3] = []
    conditional = threading.Lock()

    def counting(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        listing = environ["REQUEST_METHOD"] == "GET" and "list-type" in environ.get("QUERY_STRING", "")
        server_of[0].seen["LIST" if listing else environ["REQUEST_METHOD"]] += 1
        # moto checks a condition and writes in two steps; one at a time, they are one step, as in a real store.
        with conditional if {"HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH"} & environ.keys() else nullcontext():
            answer: Iterable[bytes] = application(environ, start_response)
            return answer

    class Quiet(WSGIRequestHandler):
        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            return

    server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=Quiet)
    server_of.append(CountedS3(f"http://127.0.0.1:{server.server_port}"))
    backend = s3_backends["123456789012"]["aws"]
    backend.reset()
    backend.create_bucket(BUCKET, "us-east-1")
    before = {name: os.environ.get(name) for name in (*_ENVIRONMENT, "AWS_ENDPOINT_URL")}
    os.environ.update(_ENVIRONMENT, AWS_ENDPOINT_URL=server_of[0].endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server_of[0]
    finally:
        server.shutdown()
        thread.join()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def build_one_clip(uri: str, folder: Path) -> None:
    """A build that adds a clip of a local video to the dataset. Ends the benchmark when it fails."""
    folder.mkdir(parents=True, exist_ok=True)
    video = folder / "counted_001.mp4"
    source = "testsrc=duration=1.2:size=340x256:rate=25"
    subprocess.run([executable(), "-v", "error", "-y", "-f", "lavfi", "-i", source, video], check=True)
    asked = folder / "asked.csv"
    asked.write_text(f"label,youtube_id,time_start,time_end,split\n{scale.CLASSES[0]},counted_001,0,1,train\n")
    command: list[str | Path] = [sys.executable, "-m", "kinetics_pipeline.workflows", "build", asked, "--output", uri]
    command += ["--source", folder, "--cache", folder / "cache", "--flow-backend", "cpu"]
    built = subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "RAY_ADDRESS": ""},
    )
    if built.returncode:
        raise SystemExit(f"the build failed: {built.stdout[-2000:]}")


def count(server: CountedS3, step: Callable[[], object]) -> Counter[str]:
    server.seen.clear()
    with redirect_stdout(sys.stderr):
        step()
    return Counter(server.seen)


def measure(server: CountedS3, dataset: Path, folder: Path, *, build: bool = True) -> dict[str, Counter[str]]:
    """The requests of each step, on a copy of a local dataset in the bucket."""
    prefix = folder.name
    server.fill(dataset, prefix)
    uri = f"s3://{BUCKET}/{prefix}"
    found = {"index of the markers, rebuilt": count(server, lambda: Dataset.open(uri).refresh_index())}
    found["status"] = count(server, lambda: status(uri, as_json=True))
    found["ClipDataset, cold"] = count(server, lambda: ClipDataset(uri))
    found["ClipDataset, warm"] = count(server, lambda: ClipDataset(uri))
    if build:
        found["build of one clip"] = count(server, lambda: build_one_clip(uri, folder))
    Dataset.open(uri).store.delete(INDEX)
    found["status without the index"] = count(server, lambda: status(uri, as_json=True))
    return found


def main() -> int:
    """1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, nargs="+", default=[1_000, 10_000])
    asked = parser.parse_args()
    table = Table("shards", "step", "GET", "HEAD", "LIST", "PUT", "DELETE", "all", "bar", box=None)
    missed = False
    with tempfile.TemporaryDirectory() as temporary, counted_s3() as server:
        for shards in asked.shards:
            dataset = Path(temporary) / "data"
            scale.make(dataset, shards)
            for step, seen in measure(server, dataset, Path(temporary) / f"of-{shards}").items():
                bar = BARS.get(step)
                missed |= bar is not None and seen.total() >= bar
                methods = (str(seen[name]) for name in ("GET", "HEAD", "LIST", "PUT", "DELETE"))
                table.add_row(str(shards), step, *methods, str(seen.total()), "" if bar is None else f"< {bar}")
            shutil.rmtree(dataset)
    Console().print(table)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
