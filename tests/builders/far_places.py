"""An S3 server and a Hugging Face hub at ports that the shared cluster's nodes know before either is started."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kinetics_pipeline.storage.open_store import open_store
from kinetics_pipeline.workflows.benchmarks.loopback_archives import LoopbackArchives
from tests.builders.clusters import free_ports

S3_PORT, HUB_PORT = free_ports(2)
FAR_PLACES = {
    "AWS_ENDPOINT_URL": f"http://127.0.0.1:{S3_PORT}",
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "HF_ENDPOINT": f"http://127.0.0.1:{HUB_PORT}",
    "HF_TOKEN": "hf_of_a_test",
}
"""What a process needs to find them; there they are only within `bucket_of` and `hub_of`."""


@contextmanager
def bucket_of(objects: Mapping[str, bytes]) -> Iterator[str]:
    """The address of a bucket with these objects. The caller's environment has `FAR_PLACES`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=S3_PORT, verbose=False)
    server.start()
    try:
        url = f"{FAR_PLACES['AWS_ENDPOINT_URL']}/archives"
        with urllib.request.urlopen(urllib.request.Request(url, method="PUT")):
            store = open_store("s3://archives")
        for name, data in objects.items():
            store.write(name, data)
        yield "s3://archives"
    finally:
        server.stop()


@contextmanager
def hub_of(owner: str, name: str, files: Mapping[str, bytes]) -> Iterator[LoopbackArchives]:
    """A hub with a dataset of these files, all of them in one folder."""
    with LoopbackArchives(port=HUB_PORT) as server:
        (folder,) = {path.rpartition("/")[0] for path in files}
        entries = [{"type": "file", "path": path, "size": len(data)} for path, data in files.items()]
        tree = f"/api/datasets/{owner}/{name}/tree/main/{folder}?recursive=true"
        server.files = {f"/datasets/{owner}/{name}/resolve/main/{path}": data for path, data in files.items()}
        server.files[tree] = json.dumps(entries).encode()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
