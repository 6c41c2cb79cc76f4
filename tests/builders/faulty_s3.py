"""A real S3 API on loopback (moto's server), and a proxy before it that can be told to fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

from kinetics_pipeline.workflows.benchmarks.faulty_proxy import Faults, faulty_proxy

__all__ = ["Faults", "faulty_s3"]


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
