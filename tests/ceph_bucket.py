# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets on the run's one gateway; each test has its own."""

import itertools
from dataclasses import dataclass
from typing import Any

from ceph_gateway import CephGateway

from ledger.aws import Client, Credentials

_numbers = itertools.count(1)


@dataclass
class Bucket:
    """A bucket and the account that owns it."""

    client: Client
    name: str

    def call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return self.client.call(operation, Bucket=self.name, **parameters)

    def set_default(self, mode: str, days: int) -> None:
        rule = {"DefaultRetention": {"Mode": mode, "Days": days}}
        self.call(
            "put_object_lock_configuration",
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule},
        )


class Buckets:
    """Makes buckets."""

    def __init__(self, gateway: CephGateway) -> None:
        self._gateway = gateway

    def client(self) -> Client:
        access_key, secret = self._gateway.owner
        return Client(
            "s3",
            endpoint=self._gateway.endpoint,
            credentials=Credentials(access_key=access_key, secret=secret),
        )

    def bucket(self, *, lock: bool = True, default: str | None = "COMPLIANCE") -> Bucket:
        """Make a bucket of its own, locked by default for a day."""
        made = Bucket(self.client(), f"archive-{next(_numbers)}")
        made.call("create_bucket", ObjectLockEnabledForBucket=lock)
        if default is not None:
            made.set_default(default, 1)
        return made
