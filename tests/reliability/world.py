"""One store behind a proxy, the disks on it, and what makes and judges backups there."""

from __future__ import annotations

import hashlib
import itertools
import time
import uuid
from dataclasses import dataclass, field

import requests
from django.db import connection
from django.utils import timezone

from backups_remote.models import Backup, BackupEvent, EventKind
from tests.reliability.panel import Site
from tests.support.daemon import Daemon, cut
from tests.support.events import unexplained

MIB = 1024**2
PART_SIZE = 5 * MIB
#: How long a node goes on trying; the daemons do so for 30 seconds.
PERSEVERANCE = 12
_DISKS = 24


class World:
    """Everything that outlives a panel."""

    def __init__(self, store, proxy, s3, scratch):
        self.store = store
        self.proxy = proxy
        self.s3 = s3
        self.scratch = scratch
        run = f"r-{uuid.uuid4().hex[:8]}"
        self.locations = {f"disk-{n}": f"{run}/{n}" for n in range(_DISKS)}
        self._disks = itertools.cycle(self.locations)
        self.storage = {**store.storage_options, "endpoint_url": proxy.url}

    def new_disk(self):
        """A disk that no test at hand uses, without the uploads that one before may have left."""
        disk = next(self._disks)
        for key, upload_id in self.uploads(f"{self.locations[disk]}/"):
            self.s3.abort_multipart_upload(Bucket=self.store.bucket, Key=key, UploadId=upload_id)
        return disk

    def site(self, *, timeouts=None, **backups_remote):
        """What panels and commands are told."""
        return Site(
            # The tests' own database, made for this run: processes share it with the tests.
            database=str(connection.settings_dict["NAME"]),
            storage=self.storage,
            locations=self.locations,
            backups_remote={
                "DEFAULT_DISK": "disk-0",
                "MAX_PART_SIZE": PART_SIZE,
                **backups_remote,
            },
            timeouts=timeouts or {},
        )

    # What the store itself says

    def uploads(self, prefix):
        answer = self.s3.list_multipart_uploads(Bucket=self.store.bucket, Prefix=prefix)
        assert not answer.get("IsTruncated")
        return [(u["Key"], u["UploadId"]) for u in answer.get("Uploads", ())]

    def objects(self, prefix):
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.store.bucket, Prefix=prefix
        )
        return {o["Key"]: o["Size"] for page in pages for o in page.get("Contents", ())}

    def read_object(self, key):
        """An object's size, mark and SHA-1, or None."""
        try:
            answer = self.s3.get_object(Bucket=self.store.bucket, Key=key)
        except self.s3.exceptions.NoSuchKey:
            return None
        with answer["Body"] as body:
            content = body.read()
        mark = answer["Metadata"].get("backup-mark")
        return len(content), mark, hashlib.sha1(content).hexdigest()

    # Backups as they stand at some point of their lives

    def key_of(self, backup):
        return f"{self.locations[backup.disk]}/{backup.server.uuid}/{backup.uuid}.tar.gz"

    def pending(self, server, disk):
        return Backup.objects.create(server=server, disk=disk)

    def begin(self, key, mark=""):
        """Begin an upload as the panel does; its id."""
        return self.s3.create_multipart_upload(
            Bucket=self.store.bucket,
            Key=key,
            ContentType="application/x-gzip",
            Metadata={"backup-mark": mark},
        )["UploadId"]

    def uploading(self, server, disk, archive, *, parts=None, size=None, streamed=False):
        """A backup whose node has uploaded its parts, or only the first ``parts`` of them."""
        backup = self.pending(server, disk)
        key, mark = self.key_of(backup), uuid.uuid4().hex
        upload_id = self.begin(key, mark)
        announced = len(archive) if size is None else size
        pieces = cut(archive, PART_SIZE)
        etags = []
        for number, piece in enumerate(pieces[:parts], start=1):
            answer = self.s3.upload_part(
                Bucket=self.store.bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=piece,
            )
            etags.append(answer["ETag"])
        assert backup.start_upload(
            upload_id=upload_id,
            mark=mark,
            key=key,
            size=None if streamed else announced,
            part_size=PART_SIZE,
        )
        backup.etags = etags
        return backup

    def put_parts(self, backup, pieces):
        """Upload (number, body) pairs; their ETags."""
        return [
            self.s3.upload_part(
                Bucket=self.store.bucket,
                Key=backup.object_key,
                UploadId=backup.upload_id,
                PartNumber=number,
                Body=body,
            )["ETag"]
            for number, body in pieces
        ]

    def complete_in_store(self, backup):
        """Complete in the store only, as when the panel died before the answer."""
        self.s3.complete_multipart_upload(
            Bucket=self.store.bucket,
            Key=backup.object_key,
            UploadId=backup.upload_id,
            MultipartUpload={
                "Parts": [
                    {"ETag": etag, "PartNumber": n} for n, etag in enumerate(backup.etags, start=1)
                ]
            },
        )

    def reported(self, server, disk, archive, *, claimed=True, finished=False):
        """A backup whose success was recorded by a panel that died then."""
        backup = self.uploading(server, disk, archive)
        # A dead panel's claim: it is not renewed.
        age = timezone.timedelta(seconds=0.8 if claimed else -1)
        assert backup.record_success(
            checksum=f"sha1:{hashlib.sha1(archive).hexdigest()}",
            size=len(archive),
            etags=backup.etags,
            claimed_until=timezone.now() + age,
        )
        if finished:
            self.complete_in_store(backup)
        return backup

    def completed(self, server, disk, archive):
        """A completed backup."""
        backup = self.reported(server, disk, archive, finished=True)
        Backup.objects.filter(pk=backup.pk).update(
            is_successful=True,
            completed_at=timezone.now(),
            reported_etags=None,
            claimed_until=None,
        )
        BackupEvent.objects.create(kind=EventKind.COMPLETED, **backup.subject._asdict())
        return backup

    def failed_with_open_upload(self, server, disk, archive, *, parts=None):
        """A failed backup whose upload could not be aborted."""
        backup = self.uploading(server, disk, archive, parts=parts)
        assert backup.fail("why")
        return backup

    def deleting(self, server, disk, archive):
        """A backup whose panel died at the start of its deletion."""
        backup = self.completed(server, disk, archive)
        backup.refresh_from_db()
        assert backup.begin_deletion()
        return backup

    # The judge

    def violations(self, backup, archive):
        """Everything that is not as it must be at the end of ``backup``, in words."""
        row = Backup.objects.filter(pk=backup.pk).first()
        if backup.disk not in self.locations:
            return [*self._wrong_on_node(row, archive), *unexplained(backup.uuid)]
        key = self.key_of(backup)
        found = self.read_object(key)
        return [*self._wrong(row, found, archive), *self._leaks(key), *unexplained(backup.uuid)]

    def _wrong(self, row, found, archive):
        if row is None:
            if found is not None:
                yield "the row is gone and its object is there"
            return
        if row.state not in {Backup.State.COMPLETED, Backup.State.FAILED}:
            yield f"it ended as {row.state}"
            return
        whole = found is not None and found[:2] == (row.upload_size, row.upload_mark)
        if row.is_successful != whole:
            yield f"is_successful is {row.is_successful}, the store holds {found}"
        if found is not None and not row.is_successful:
            yield "a failed backup's object is in the store"
        if row.is_successful and found is not None:
            if row.size != found[0]:
                yield f"its size is {row.size}, the object's {found[0]}"
            sha1 = hashlib.sha1(archive).hexdigest()
            if found[2] != sha1:
                yield "its bytes are not the archive's"
            if row.checksum not in {f"sha1:{sha1}", "" if row.is_recovered else f"sha1:{sha1}"}:
                yield f"its checksum is {row.checksum!r}"

    def _wrong_on_node(self, row, archive):
        """What the node said is all there is."""
        if row is None:
            return
        if row.state not in {Backup.State.COMPLETED, Backup.State.FAILED}:
            yield f"it ended as {row.state}"
        sha1 = hashlib.sha1(archive).hexdigest()
        said = (f"sha1:{sha1}", len(archive)) if row.is_successful else ("", 0)
        if (row.checksum, row.size) != said:
            yield f"its checksum and size are {row.checksum!r} and {row.size}"
        if row.object_key or row.upload_id:
            yield "it has to do with a store"

    def _leaks(self, key):
        for _, upload_id in self.uploads(key):
            yield f"the upload {upload_id} is left"


@dataclass
class PersistentNode:
    """A node that does not take an unclear answer for an end, as the daemons do not."""

    panel: str
    bearer: str
    perseverance: float = PERSEVERANCE
    answers: list = field(default_factory=list)

    def daemon(self):
        """A client on a connection of its own."""
        return Daemon(self.panel, self.bearer)

    def persist(self, call):
        """Call until the answer is final; its status, None if it never was."""
        give_up = time.monotonic() + self.perseverance
        pause = 0.05
        while time.monotonic() < give_up:
            status = self.attempt(call)
            if status is not None and status < 500:
                return status
            time.sleep(pause)
            pause = min(pause * 2, 1)
        return None

    def attempt(self, call):
        """Call once, on a connection of its own; the status, None where nothing was answered."""
        with self.daemon() as daemon:
            try:
                answer = call(daemon)
            except requests.RequestException:
                self.answers.append(None)
                return None
        self.answers.append(answer.status_code)
        self.last = answer
        return answer.status_code

    def ask(self, backup, size, **kwargs):
        return self.persist(lambda daemon: daemon.ask(backup, size, **kwargs))

    def report(self, backup, archive, parts):
        return self.persist(lambda daemon: daemon.report(backup, archive, parts))

    def back_up(self, backup, archive):
        """The whole job, however often each step takes."""
        status = self.ask(backup, len(archive))
        if status != 200:
            return status
        ticket = self.last.json()
        with self.daemon() as daemon:
            parts = daemon.upload(ticket["parts"], archive, ticket["part_size"])
        return self.report(backup, archive, parts)


def parts_of(backup):
    """The parts of a report, as the store answered them to the node."""
    return [{"etag": etag, "part_number": n} for n, etag in enumerate(backup.etags, start=1)]
