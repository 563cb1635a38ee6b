"""Ceph on one machine in memory (monitor, one OSD, the RADOS gateway), from Debian's packages."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tests.storage.stores.processes import (
    Processes,
    StoreWithLimit,
    found,
    listens,
    makes_its_bucket,
)

if TYPE_CHECKING:
    from collections.abc import Callable

#: What the panel's key must be allowed; docs/stores.md prints it.
ON_OBJECTS = (
    *("s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:AbortMultipartUpload"),
    *("s3:ListMultipartUploadParts", "s3:GetObjectVersion", "s3:DeleteObjectVersion"),
)
#: Denied or not, 16.2.15 lets the key that made an object read it and list its parts.
NOT_CHECKED = {"s3:GetObject", "s3:GetObjectVersion", "s3:ListMultipartUploadParts"}
ON_BUCKET = ("s3:ListBucket", "s3:ListBucketMultipartUploads")
#: The key that is allowed them, as OPTIONS.
FEW_PERMISSIONS = {"access_key": "few-permissions", "secret_key": "few-permissions-secret"}
ADMIN = ("radosgw-admin", "-n", "client.rgw")
CAPS = {
    "mon.": {"mon": "allow *"},
    "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *", "mgr": "allow profile osd"},
    "client.rgw": {"mon": "allow rwx", "osd": "allow rwx", "mgr": "allow rw"},
}


@dataclass(frozen=True)
class StoreWithQuota(StoreWithLimit):
    """Full by a quota on every bucket of the key that owns them."""

    run: Callable[..., str] = field(kw_only=True, repr=False)

    @contextlib.contextmanager
    def filled(self):
        self._quota("set", "--max-size=1")
        self._quota("enable")
        try:
            yield
        finally:
            self._quota("disable")

    def _quota(self, *words):
        self.run(*ADMIN, "quota", *words, "--quota-scope=bucket", "--uid", self.access_key)


def version():
    said = subprocess.run(
        [found("radosgw"), "--version"], capture_output=True, text=True, check=True
    )
    return said.stdout.split()[2]


@contextlib.contextmanager
def running():
    for program in ("ceph-mon", "ceph-osd", "radosgw", "ceph", "monmaptool"):
        found(program)
    with Processes("ceph") as processes:
        gateway, monitor = processes.ports(2)
        here = processes.directory
        where = {"CEPH_CONF": str(here / "ceph.conf")}
        store = StoreWithQuota(
            f"http://127.0.0.1:{gateway}",
            "backups",
            "panel",
            "panel-secret",
            run=partial(processes.run, **where),
        )
        fsid = str(uuid.uuid4())
        (here / "ceph.conf").write_text(_configuration(here, fsid, monitor, gateway))
        for directory in ("mon", "osd"):
            (here / directory).mkdir()
        _make_keyring(processes, here)
        address = f"[v2:127.0.0.1:{monitor}]"
        processes.run(
            "monmaptool", "--create", "--addv", "a", address, "--fsid", fsid, here / "monmap"
        )
        only = ("--monmap", here / "monmap", "--keyring", here / "keyring")
        processes.run("ceph-mon", "--mkfs", "-i", "a", *only, **where)
        processes.start("mon", "ceph-mon", "-f", "-i", "a", **where)
        processes.wait(lambda: listens(monitor))
        osd = uuid.uuid4()
        processes.run("ceph", "--connect-timeout", 60, "osd", "new", osd, **where)
        processes.run("ceph", "auth", "import", "-i", here / "keyring", **where)
        processes.run("ceph-osd", "-i", 0, "--mkfs", "--osd-uuid", osd, **where)
        processes.start("osd", "ceph-osd", "-f", "-i", 0, **where)
        processes.wait(lambda: "1 up" in processes.run("ceph", "osd", "stat", **where))
        processes.start("rgw", "radosgw", "-f", "-n", "client.rgw", **where)
        processes.wait(lambda: listens(gateway))
        for user in ("panel", "few-permissions"):
            _make_user(processes, user, where)
        processes.wait(lambda: makes_its_bucket(store))
        yield store


def allow_few_permissions(client, bucket, *, without=""):
    """Let a key do in a bucket what the panel needs, and no more; the key, as OPTIONS.

    What is not allowed is denied: else the gateway lets who has made an object do anything to it.
    """
    arn = f"arn:aws:s3:::{bucket}"
    who = {"AWS": ["arn:aws:iam:::user/few-permissions"]}
    on_objects = [each for each in ON_OBJECTS if each != without]
    on_bucket = [each for each in ON_BUCKET if each != without]
    statements = [
        {"Effect": "Allow", "Action": on_objects, "Resource": [f"{arn}/*"]},
        {"Effect": "Allow", "Action": on_bucket, "Resource": [arn]},
        {"Effect": "Deny", "NotAction": on_objects, "Resource": [f"{arn}/*"]},
        {"Effect": "Deny", "NotAction": on_bucket, "Resource": [arn]},
    ]
    policy = {
        "Version": "2012-10-17",
        "Statement": [{**statement, "Principal": who} for statement in statements],
    }
    client.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
    return FEW_PERMISSIONS


def _make_user(processes, user, where):
    processes.run(
        *(*ADMIN, "user", "create", "--uid", user),
        *("--display-name", user, "--access-key", user, "--secret", f"{user}-secret"),
        **where,
    )


def _make_keyring(processes, here):
    keyring = here / "keyring"
    for entity, caps in CAPS.items():
        create = () if keyring.exists() else ("--create-keyring",)
        allowed = [word for service, cap in caps.items() for word in ("--cap", service, cap)]
        processes.run("ceph-authtool", *create, keyring, "--gen-key", "-n", entity, *allowed)


def _configuration(here, fsid, monitor, gateway):
    sections = {
        "global": {
            "fsid": fsid,
            "mon host": f"[v2:127.0.0.1:{monitor}/0]",
            "ms bind msgr1": "false",
            "public network": "127.0.0.0/8",
            "cluster network": "127.0.0.0/8",
            "keyring": here / "keyring",
            "run dir": here,
            "admin socket": f"{here}/$name.asok",
            "log file": f"{here}/$name.ceph.log",
            "pid file": f"{here}/$name.pid",
            "osd pool default size": 1,
            "osd pool default min size": 1,
            "osd pool default pg num": 4,
            "osd pool default pgp num": 4,
            "osd pool default pg autoscale mode": "off",
            "osd crush chooseleaf type": 0,
            "mon allow pool size one": "true",
            # The machine's own disk is not what is used.
            "mon data avail crit": 0,
            "mon data avail warn": 0,
        },
        "mon.a": {"mon data": here / "mon"},
        "osd.0": {
            "osd data": here / "osd",
            "osd objectstore": "memstore",
            "memstore device bytes": 4 * 1024**3,
        },
        "client.rgw": {
            "rgw frontends": f"beast endpoint=127.0.0.1:{gateway}",
            "rgw dns name": "s3.localhost",
            "rgw run sync thread": "false",
        },
    }
    lines = []
    for name, options in sections.items():
        lines += [f"[{name}]", *(f"{option} = {value}" for option, value in options.items()), ""]
    return "\n".join(lines)
