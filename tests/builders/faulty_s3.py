"""A real S3 API on loopback (moto's server), and a proxy before it that can be told to fail."""

from __future__ import annotations

import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from moto.server import ThreadedMotoServer

from kinetics_pipeline.workflows.benchmarks.faulty_proxy import Faults, faulty_proxy

__all__ = ["Faults", "faulty_s3", "new_bucket", "use_endpoint"]


@contextmanager
def faulty_s3() -> Iterator[tuple[str, Faults]]:
    """The endpoint, as http://127.0.0.1:PORT, and what it shall do wrong."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    _, port = moto.get_host_and_port()
    faults = Faults()
    try:
        with faulty_proxy(port, faults) as endpoint:
            yield endpoint, faults
    finally:
        moto.stop()


def use_endpoint(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """The environment by which S3 is found there."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


def new_bucket(endpoint: str) -> str:
    """The name of an empty bucket."""
    name = f"bucket-{uuid.uuid4().hex}"
    with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")):
        return name
