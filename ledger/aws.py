# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls to a service that speaks Amazon's protocols: S3 and KMS, Amazon's own or another's.

The only home of boto3. Credentials come the way that boto3 always takes them (environment, profile
or the machine's role), and never from our settings. A call either answers, or was refused with the
service's own code, or nobody knows: three answers, without a value of the request in any of them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from ledger.errors import Refused

Service: TypeAlias = Literal["s3", "kms"]

_CONNECT_S: Final = 5
_READ_S: Final = 60
_ATTEMPTS: Final = 3

#: At `debug` these print headers, bodies and signatures.
for _name in ("boto3", "botocore", "s3transfer", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class AwsUnavailable(Exception):  # noqa: N818 - an answer, as in ledger/errors.py
    """The service did not answer, or said that it cannot now; nobody knows what it did."""


class AwsRefused(Exception):  # noqa: N818 - an answer
    """The service refused a call: its own code, such as `AccessDenied`, and the HTTP status."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(f"{code} ({status})")
        self.code, self.status = code, status


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """An access key given by hand, for tests; servers have theirs from their environment."""

    access_key: str
    secret: str = field(repr=False)


class Client:
    """One service at one endpoint; safe to share between threads."""

    def __init__(
        self,
        service: Service,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        credentials: Credentials | None = None,
        connections: int = 10,
    ) -> None:
        """Make a client; asks nobody. Raises Refused if boto3 is not installed."""
        try:
            import boto3  # noqa: PLC0415 - optional: pip install sealtrail-server[aws]
            from botocore.config import Config  # noqa: PLC0415
        except ImportError:
            raise Refused("boto3 is missing: pip install 'sealtrail-server[aws]'") from None
        config = Config(
            connect_timeout=_CONNECT_S,
            read_timeout=_READ_S,
            max_pool_connections=connections,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            # Newer checksums are asked for where a call needs one: other people's S3 takes them
            # and throws them away, which protects nothing.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint else "auto"},
        )
        given = {}
        if credentials is not None:
            given = {
                "aws_access_key_id": credentials.access_key,
                "aws_secret_access_key": credentials.secret,
            }
        # A session of our own: boto3's default one is not safe to share between threads.
        self._client: Any = boto3.session.Session(**given).client(
            service,
            endpoint_url=endpoint,
            region_name=region or ("us-east-1" if endpoint else None),
            config=config,
        )

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call an operation by boto3's name; raises AwsRefused or AwsUnavailable."""
        with _translated():
            answer: dict[str, Any] = getattr(self._client, operation)(**parameters)
        return answer

    def close(self) -> None:
        self._client.close()


def pieces(body: Any, size: int) -> Iterator[bytes]:
    """Read an answer's streaming body piece by piece, and close it; raises AwsUnavailable."""
    with _translated():
        try:
            yield from body.iter_chunks(size)
        finally:
            body.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Say what went wrong without the library's own words, which may hold names and URLs."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - as above

    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status >= 500 or status == 429 or code in _BUSY:
            raise AwsUnavailable(code) from None
        raise AwsRefused(code, status) from None
    except (BotoCoreError, OSError) as error:
        raise AwsUnavailable(type(error).__name__) from None


_BUSY: Final = frozenset({"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException"})
