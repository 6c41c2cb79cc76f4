"""The obstore client of a URI: addresses, regions, credentials, and a client that also works after a fork.

Everything usual is taken from the environment, as the cloud's own tools do: AWS_ACCESS_KEY_ID, AWS_REGION,
AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, STORAGE_EMULATOR_HOST, AZURE_STORAGE_ACCOUNT_NAME, roles of machines
and pods. Profiles of `~/.aws` (also SSO) are read by boto3, where it is installed.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import AzureStore, GCSStore, MemoryStore, S3Store

from kinetics_pipeline.errors import UserError
from kinetics_pipeline.storage.store import LARGEST_READ

SCHEMES = ("s3", "gs", "az")
RETRY: Any = {
    "max_retries": 12,
    "retry_timeout": timedelta(minutes=2),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=10), "base": 4},
}
"""Rides out about a minute of refusals: the waits grow from 0.1 to 10 s (with a base of 2, and so much chance in each,
they do not grow)."""
_WAITS = (0.1, 0.4, 1.6, 6.4)
"""Seconds before a call is made again whose answer broke off in its body: obstore itself repeats what fails earlier."""
_BROKEN_OFF = re.compile(r"(decoding response|request or response) body")
"""The words of reqwest, obstore's HTTP client, for an answer that broke off; a refusal also shows a body."""
_REPEATABLE = frozenset({"get", "get_range", "head", "list", "list_with_delimiter", "delete"})
"""Calls that mean the same a second time."""
_SHORT, _LONG = timedelta(seconds=60), timedelta(minutes=30)
"""Limits of one request: a small one, and one that carries a whole shard."""


def connect(uri: str, *, long: bool, retry: Any = RETRY) -> Any:
    """An obstore client whose root is the URI's folder. Sends nothing, but to look up a bucket's region."""
    parts = urlsplit(uri)
    bucket, prefix = parts.netloc, parts.path.strip("/") or None
    options: Any = {"timeout": _LONG if long else _SHORT, "connect_timeout": timedelta(seconds=10)}
    if parts.scheme == "s3":
        return _s3(bucket, prefix, options, retry)
    if parts.scheme == "gs":
        return GCSStore(bucket, prefix=prefix, config=_emulated(options), client_options=options, retry_config=retry)
    return AzureStore(bucket, prefix=prefix, client_options=options, retry_config=retry)


def _emulated(options: Any) -> Any:
    """The settings of a store that stands in for Google's (STORAGE_EMULATOR_HOST, as Google's own libraries read it);
    empty where there is none."""
    host = os.environ.get("STORAGE_EMULATOR_HOST", "").rstrip("/")
    if not host:
        return {}
    url = host if "://" in host else f"http://{host}"
    options["allow_http"] = url.startswith("http://")
    account = {"gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}
    return {"service_account_key": msgspec.json.encode(account).decode()}


def _s3(bucket: str, prefix: str | None, options: Any, retry: Any) -> Any:
    config: Any = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        config["endpoint"] = endpoint
        options["allow_http"] = endpoint.startswith("http://")
    provider, region = _profile()
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or region
    config["region"] = region or ("us-east-1" if endpoint else _region_of(bucket))
    return S3Store(
        bucket,
        prefix=prefix,
        config=config,
        client_options=options,
        retry_config=retry,
        **({"credential_provider": provider} if provider else {}),
    )


def _profile() -> tuple[Callable[[], Any] | None, str | None]:
    """The credentials and the region of a profile; None where the environment has keys or there is no profile."""
    if os.environ.get("AWS_ACCESS_KEY_ID") and not os.environ.get("AWS_PROFILE"):
        return None, None
    files = (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config"))
    credentials, config = (Path(os.environ.get(name) or Path.home() / ".aws" / file) for name, file in files)
    if not (os.environ.get("AWS_PROFILE") or credentials.exists() or config.exists()):
        return None, None
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        if os.environ.get("AWS_PROFILE") or credentials.exists():
            raise UserError(
                f"profiles such as those in {credentials} are read by boto3, which is not installed: "
                "pip install boto3, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from None
        return None, None
    try:
        session = boto3.Session()
        if session.get_credentials() is None:
            return None, session.region_name
        return Boto3CredentialProvider(session), session.region_name
    except BotoCoreError as error:
        raise UserError(f"the AWS profile cannot be used: {' '.join(str(error).split())}") from None


def _region_of(bucket: str) -> str:
    """The region that S3 names in its answer for any bucket, also to strangers (Amazon S3 API, HeadBucket)."""
    request = urllib.request.Request(f"https://{bucket}.s3.amazonaws.com", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (https, as written above)
            headers = answer.headers
    except urllib.error.HTTPError as answer:
        headers = answer.headers
    except OSError:
        return "us-east-1"
    return headers.get("x-amz-bucket-region") or "us-east-1"


class ObjectClient:
    """Calls of obstore for one URI. A missing object raises FileNotFoundError, the rest one of obstore's errors.

    obstore's threads do not survive a fork, and a call in a forked process (a worker of a DataLoader) would never
    return: there the calls go to a fresh process of this one's own.
    """

    _first_use: int | None = None
    """The process whose obstore has been used."""

    def __init__(self, uri: str, memory: Any = None) -> None:
        self._uri, self._memory = uri, memory
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._clients: dict[bool, Any] = {}
        self._helper: subprocess.Popen[bytes] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self._uri}  # never credentials: each process takes those of its environment

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["uri"])  # type: ignore[misc]

    def call(self, function: str, *arguments: Any, long: bool = False, **options: Any) -> Any:
        """`getattr(obstore, function)` for this place: of `get` (bytes, description), of `list` the whole list."""
        if self._process != os.getpid():
            self._lock = threading.Lock()
            self._reset()
        if ObjectClient._first_use is None:
            ObjectClient._first_use = os.getpid()
        if ObjectClient._first_use != os.getpid():
            return self._elsewhere(function, arguments, {"long": long, **options})
        with self._lock:
            if long not in self._clients:
                self._clients[long] = connect(self._uri, long=long) if self._memory is None else self._memory
            client = self._clients[long]
        if self._memory is not None and function == "put":  # which would keep the caller's buffer
            arguments = (
                arguments[0],
                arguments[1].read_bytes() if isinstance(arguments[1], Path) else bytes(arguments[1]),
            )
        for wait in _WAITS:
            try:
                return _answer(client, function, arguments, options)
            except BaseError as error:
                if function not in _REPEATABLE or _BROKEN_OFF.search(str(error)) is None:
                    raise
                time.sleep(wait)
        return _answer(client, function, arguments, options)

    def _elsewhere(self, function: str, arguments: Any, options: Any) -> Any:
        with self._lock:
            if self._helper is None:
                code = f"from {__name__} import _serve; _serve()"
                self._helper = subprocess.Popen(
                    [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                _send(self._helper.stdin, self._uri)
            _send(self._helper.stdin, (function, [_plain(value) for value in arguments], options))
            error, answer = _receive(self._helper.stdout)
        if error is not None:
            raise _ERRORS.get(error, BaseError)(answer)
        return answer


def _answer(client: Any, function: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    answer = getattr(obstore, function)(client, *arguments, **options)
    if function == "get":
        # What is too large for memory stays in the store: the caller sees its size.
        return b"" if answer.meta["size"] > LARGEST_READ else bytes(answer.bytes()), answer.meta
    if function == "get_range":
        return bytes(answer)
    return answer.collect() if function == "list" else answer


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value if isinstance(value, (str, list, tuple)) else bytes(value)


def _send(pipe: Any, message: Any) -> None:
    data = msgspec.msgpack.encode(message)
    pipe.write(struct.pack("<Q", len(data)) + data)
    pipe.flush()


def _receive(pipe: Any) -> Any:
    """Raises EOFError when the other end is gone."""
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    return msgspec.msgpack.decode(pipe.read(struct.unpack("<Q", head)[0]))


_ERRORS: dict[str, type[Exception]] = {
    "FileNotFoundError": FileNotFoundError,
    "AlreadyExistsError": AlreadyExistsError,
    "PreconditionError": PreconditionError,
    "UserError": UserError,
}


def _serve() -> None:
    """Answers the calls of a forked process until it is gone."""
    answers, sys.stdout = sys.stdout.buffer, sys.stderr
    try:
        client = ObjectClient(_receive(sys.stdin.buffer))
        while True:
            function, arguments, options = _receive(sys.stdin.buffer)
            if function == "put" and isinstance(arguments[1], str):
                arguments[1] = Path(arguments[1])
            try:
                answer: tuple[str | None, Any] = None, client.call(function, *arguments, **options)
            except (BaseError, OSError, ValueError, UserError) as error:
                answer = type(error).__name__, str(error)
            _send(answers, answer)
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


def in_memory(uri: str) -> ObjectClient:
    """A client whose objects are in this process's memory."""
    return ObjectClient(uri, MemoryStore())
