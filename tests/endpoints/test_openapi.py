"""docs/openapi.yaml is valid, and true: real answers conform to it, also under a fuzzer."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import jsonschema_rs
import pytest
import requests
import schemathesis
import yaml
from django.core.wsgi import get_wsgi_application
from django.db import transaction
from django.urls import reverse
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from backups_remote.lifecycle import report
from backups_remote.lifecycle.lease import lease_end
from backups_remote.models import RESTORING, Backup, Server
from tests.support.daemon import success
from tests.support.factories import BackupFactory
from tests.support.http import CLOSED, MIB, change_disk_options

ROOT = Path(__file__).resolve().parents[2]
DESCRIPTION = yaml.safe_load((ROOT / "docs" / "openapi.yaml").read_text(encoding="utf-8"))
DAEMONS = ("pterodactyl", "pelican", "calagopus")
ARCHIVE = b"a tiny archive"
State = Backup.State


def operations():
    """(method, path, operation)."""
    for path, item in DESCRIPTION["paths"].items():
        for method, operation in item.items():
            if method in {"get", "post"}:
                yield method, path, operation


def resolved(node):
    """``node`` with every $ref replaced by what it points to."""
    if isinstance(node, list):
        return [resolved(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = DESCRIPTION
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        return resolved(target)
    return {name: resolved(value) for name, value in node.items()}


def valid(schema, value):
    jsonschema_rs.Draft202012Validator(resolved(schema), validate_formats=True).validate(value)


def conforms(answer, method, path):
    """A real answer is one of those that the description names for this operation."""
    [operation] = [o for m, p, o in operations() if (m, p) == (method.lower(), path)]
    described = resolved(operation["responses"])
    assert str(answer.status_code) in described, (answer.status_code, answer.text)
    expected = described[str(answer.status_code)]
    for name, header in expected.get("headers", {}).items():
        valid(header["schema"], answer.headers[name])
    if "content" not in expected:
        assert answer.content == b""
        return answer
    assert answer.headers["Content-Type"] == "application/json"
    valid(expected["content"]["application/json"]["schema"], answer.json())
    return answer


# The description itself


@pytest.mark.once
def test_the_description_is_valid():
    OPENAPI_31_VALIDATOR.validate(DESCRIPTION)
    for _, _, operation in operations():
        body = operation.get("requestBody")
        if body is None:
            continue
        described = body["content"]["application/json"]
        for example in described["examples"].values():
            valid(described["schema"], example["value"])


@pytest.mark.once
def test_every_schema_is_used_and_none_is_missing():
    text = json.dumps(DESCRIPTION)
    for kind, members in DESCRIPTION["components"].items():
        for name in members:
            used = f'"#/components/{kind}/{name}"' in text or kind == "securitySchemes"
            assert used, f"{kind}/{name}"
    resolved(DESCRIPTION["paths"])


def test_the_host_projects_own_description_leaves_the_endpoints_out():
    """As drf-spectacular's enumerator does, which derives from this one."""
    from rest_framework.schemas.generators import EndpointEnumerator

    assert EndpointEnumerator().get_api_endpoints() == []
    assert reverse("backups_remote:backup", args=["x"]).startswith("/api/remote/")


@pytest.mark.once
def test_invalid_reports_do_not_conform():
    """The schema is as strict as the table."""
    schema = DESCRIPTION["components"]["schemas"]["Report"]
    good = success(ARCHIVE, None)
    valid(schema, good)
    for name in ("successful", "checksum", "checksum_type", "size"):
        with pytest.raises(jsonschema_rs.ValidationError):
            valid(schema, {key: value for key, value in good.items() if key != name})
        with pytest.raises(jsonschema_rs.ValidationError):
            valid(schema, {**good, name: None})


# The daemons' requests


def recorded(name):
    path = ROOT / "fixtures" / "daemons" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def archive():
    """The archive that the daemons' requests speak of."""
    described = recorded("archive")
    content = base64.b64decode(described["base64"])
    assert (len(content), hashlib.sha1(content).hexdigest()) == (
        described["size"],
        described["sha1"],
    )
    return content


@pytest.fixture
def send(live_server, node):
    """Send a daemon's request about a backup, byte by byte as it is written down."""

    def sending(request, backup):
        values = {
            "{backup}": str(backup.uuid),
            "{server}": str(backup.server.uuid),
            "{token_id}": node.token_id,
            "{token}": node.token,
        }

        def filled(text):
            for name, value in values.items():
                text = text.replace(name, value)
            return text

        body = request.get("body")
        with requests.Session() as session:
            session.headers.clear()
            answer = session.request(
                request["method"],
                live_server.url + filled(request["path"]),
                headers={name: filled(value) for name, value in request["headers"].items()},
                data=None if body is None else filled(json.dumps(body, separators=(",", ":"))),
                allow_redirects=False,
                timeout=60,
            )
        path = request["path"].partition("?")[0]
        return conforms(answer, request["method"], path)

    return sending


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", DAEMONS)
def test_recorded_calls_of_each_daemon_are_accepted(name, send, server, disk, archive, s3, store):
    daemon = recorded(name)
    backup, own_disk, failing = (
        BackupFactory(server=server, disk=kind) for kind in ("s3", "wings", "s3")
    )

    ticket = send(daemon["ask"], backup).json()
    [url] = ticket["parts"]
    put = requests.put(
        url, data=archive, headers={"Content-Type": "application/x-gzip"}, timeout=30
    )
    said = daemon["success_on_s3"]["body"]
    assert put.headers["ETag"].strip('"') == said["parts"][0]["etag"].strip('"')
    assert send(daemon["success_on_s3"], backup).status_code == 204
    backup.refresh_from_db()
    assert backup.state is State.COMPLETED
    assert backup.checksum == f"{said['checksum_type']}:{said['checksum']}"
    stored = s3.get_object(Bucket=store.bucket, Key=backup.object_key)
    assert stored["Body"].read() == archive
    # Told again, it has heard that already.
    assert send(daemon["success_on_s3"], backup).status_code == 400
    assert send(daemon["failure"], backup).status_code == 400

    assert send(daemon["ask"], own_disk).status_code == 400
    assert send(daemon["success_on_own_disk"], own_disk).status_code == 204
    own_disk.refresh_from_db()
    assert (own_disk.state, own_disk.size) == (State.COMPLETED, len(archive))

    assert send(daemon["ask"], failing).status_code == 200
    assert send(daemon["failure"], failing).status_code == 204
    failing.refresh_from_db()
    assert failing.state is State.FAILED

    for outcome in ("restored", "restore_failed"):
        Server.objects.filter(pk=server.pk).update(status=RESTORING)
        assert send(daemon[outcome], backup).status_code == 204
        server.refresh_from_db()
        assert server.status is None


@pytest.mark.django_db(transaction=True)
def test_recorded_streamed_upload_and_deletion_are_accepted(send, server, disk, archive, s3, store):
    daemon = recorded("calagopus")
    streamed, own_disk = (BackupFactory(server=server, disk=kind) for kind in ("s3", "wings"))

    ticket = send(daemon["ask_for_parts"], streamed).json()
    put = requests.put(ticket["parts"][0], data=archive, timeout=30)
    assert put.status_code == 200
    assert send(daemon["success_streamed"], streamed).status_code == 204
    streamed.refresh_from_db()
    assert (streamed.state, streamed.size) == (State.COMPLETED, len(archive))
    stored = s3.get_object(Bucket=store.bucket, Key=streamed.object_key)
    assert stored["Body"].read() == archive

    assert send(daemon["success_on_own_disk"], own_disk).status_code == 204
    own_disk.refresh_from_db()
    assert own_disk.begin_deletion()
    assert send(daemon["deletion_failed"], own_disk).status_code == 204
    assert Backup.objects.filter(pk=own_disk.pk).exists()
    assert send(daemon["deleted"], own_disk).status_code == 204
    assert not Backup.objects.filter(pk=own_disk.pk).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", DAEMONS)
def test_recorded_restart_ends_the_restores(name, send, server, node, backup):
    Server.objects.filter(pk=server.pk).update(status=RESTORING)
    assert send(recorded(name)["restarted"], backup).status_code == 204
    server.refresh_from_db()
    node.refresh_from_db()
    assert server.status is None
    assert node.restarted_at is not None


@pytest.mark.once
@pytest.mark.parametrize("name", DAEMONS)
def test_each_daemons_bodies_conform(name):
    for request_name, request in recorded(name).items():
        if request_name == "daemon" or "body" not in request:
            continue
        path = request["path"]
        described = DESCRIPTION["paths"][path]["post"]["requestBody"]["content"]
        body = json.dumps(request["body"]).replace("{server}", str(uuid.uuid4()))
        valid(described["application/json"]["schema"], json.loads(body))


# Real answers


@pytest.mark.django_db(transaction=True)
def test_real_answers_conform(daemon, server, backup, settings):
    """One of every status that is described."""
    one, parts, two, deletion, reset = DESCRIPTION["paths"]
    seen = Counter()

    def see(answer, path=one):
        conforms(answer, answer.request.method, path)
        seen[answer.request.method, path, str(answer.status_code)] += 1

    unknown = Backup(uuid=uuid.uuid4())
    nobody = {"Authorization": None}
    too_large = b" " * (4 * MIB + 1)
    settings.BACKUPS_REMOTE |= {"MAX_CONCURRENT_UPLOADS": 4}

    see(daemon.ask(backup, 10_000 * 5 * MIB))
    see(daemon.ask(backup, 0))
    see(daemon.ask(BackupFactory(server=server, disk="wings"), 5))
    see(daemon.ask(backup, 5, headers=nobody))
    see(daemon.ask(unknown, 5))

    see(daemon.call("POST", f"{backup.uuid}", data=b"{"))
    see(daemon.report(backup, ARCHIVE, None))
    see(daemon.call("POST", f"{backup.uuid}", data=too_large))
    see(daemon.call("POST", f"{backup.uuid}", headers=nobody))
    see(daemon.report_failure(unknown))

    for body in (b"{}", too_large):
        see(daemon.call("POST", f"{backup.uuid}/restore", data=body), two)
    see(daemon.call("POST", f"{backup.uuid}/restore", headers=nobody), two)
    see(daemon.report_restore(unknown), two)
    see(daemon.report_restore(backup), two)

    for body in (b"{}", too_large):
        see(daemon.call("POST", f"{backup.uuid}/deletion", data=body), deletion)
    see(daemon.call("POST", f"{backup.uuid}/deletion", headers=nobody), deletion)
    see(daemon.report_deletion(unknown), deletion)
    see(daemon.report_deletion(backup), deletion)

    streamed = BackupFactory(server=server)
    see(daemon.ask_parts(streamed, 1), parts)
    see(daemon.ask_parts(streamed, 0), parts)
    see(daemon.ask_parts(streamed, 1, headers=nobody), parts)
    see(daemon.ask_parts(unknown, 1), parts)
    see(daemon.ask_parts(backup, 51), parts)

    see(daemon.reset(), reset)
    see(daemon.reset(headers=nobody), reset)

    whole = settings.STORAGES
    change_disk_options(settings, endpoint_url=CLOSED)
    see(daemon.ask(backup, 5))
    see(daemon.ask_parts(streamed, 1), parts)
    see(daemon.report(backup, ARCHIVE, None))
    settings.STORAGES = whole

    see(daemon.back_up(backup, ARCHIVE))
    see(daemon.report(backup, ARCHIVE, None))
    see(daemon.ask(backup, 5))

    # The other methods' answers, judged by what the paths' own operations say of them.
    for path, sent in (
        (one, f"{backup.uuid}"),
        (parts, f"{backup.uuid}/s3/parts"),
        (two, f"{backup.uuid}/restore"),
        (deletion, f"{backup.uuid}/deletion"),
        (reset, "../servers/reset"),
    ):
        answer = daemon.call("PUT", sent)
        for method in {"get", "post"} & DESCRIPTION["paths"][path].keys():
            conforms(answer, method, path)
            seen[method.upper(), path, "405"] += 1

    # What never asks a store has the database's 503 alone: see test_unavailable.
    described = {
        (method.upper(), path, status)
        for method, path, operation in operations()
        for status in operation["responses"]
    }
    assert described - set(seen) == {("POST", path, "503") for path in (two, deletion, reset)}


# The fuzzer


def no_server_error(ctx, response, case):
    """Nothing is out of order here: the one 503 there may be is a report that is being settled."""
    if response.status_code < 500:
        return
    [error] = response.json()["errors"]
    assert (response.status_code, error["code"]) == (503, "settlement_in_progress"), error


def nothing_taken_that_breaks_the_schema(ctx, response, case):
    """What was answered with success conformed, as it was sent.

    schemathesis' own negative_data_rejection takes an unknown query key for a breach.
    """
    if response.status_code >= 300:
        return
    path, method = case.operation.path, case.method.lower()
    if method == "get":
        [described] = DESCRIPTION["paths"][path]["get"]["parameters"]
        number = parse_qs(urlsplit(response.request.url).query)[described["name"]][-1]
        assert re.fullmatch("[0-9]+", number), number
        valid(described["schema"], int(number))
    elif "requestBody" in DESCRIPTION["paths"][path]["post"]:
        described = DESCRIPTION["paths"][path]["post"]["requestBody"]["content"]
        valid(described["application/json"]["schema"], json.loads(response.request.body))


CHECKS = [
    no_server_error,
    nothing_taken_that_breaks_the_schema,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    ignored_auth,
]


STATES = [
    *(("s3", state) for state in State.values),
    *(("streamed", state) for state in ("uploading", "failed")),
    *(("wings", state) for state in ("pending", "completed", "failed", "deleting")),
]
DISKS = {"streamed": "s3"}
IDS = {which: uuid.uuid5(uuid.NAMESPACE_URL, "/".join(which)) for which in STATES}


@pytest.fixture
def in_every_state(daemon, server, disk):
    """A backup in each state, on the store and on the node's own disk; their rows."""
    backups = {
        which: BackupFactory(server=server, disk=DISKS.get(which[0], which[0]), uuid=IDS[which])
        for which in STATES
    }
    for (kind, state), backup in backups.items():
        if kind == "streamed":
            assert len(daemon.stream(backup, ARCHIVE)) == 1
        if kind == "s3" and state in {"uploading", "reported"}:
            ticket = daemon.ask(backup, len(ARCHIVE)).json()
            daemon.upload(ticket["parts"], ARCHIVE, ticket["part_size"])
        if state == "completed":
            done = (
                daemon.back_up(backup, ARCHIVE)
                if kind == "s3"
                else daemon.report(backup, ARCHIVE, None)
            )
            assert done.status_code == 204
        if state in {"failed", "deleting"}:
            assert daemon.report_failure(backup).status_code == 204
        backup.refresh_from_db()
        if state == "deleting":
            assert backup.begin_deletion()
        if state == "reported":
            # Claimed: a report does not wait for it.
            assert backup.record_success(
                checksum="sha1:0", size=len(ARCHIVE), etags=["e"], claimed_until=lease_end()
            )
        assert backup.state == state
    return list(Backup.objects.values())


def described():
    """The description, its backup one of those in every state, or an unknown one."""
    raw = copy.deepcopy(DESCRIPTION)
    raw["components"]["parameters"]["Backup"]["schema"] = {
        "type": "string",
        "format": "uuid",
        "enum": [*map(str, IDS.values()), str(uuid.UUID(int=5))],
    }
    return schemathesis.openapi.from_dict(raw)


@dataclass
class Fuzzing:
    """Calls that schemathesis made up, each on backups that are as they were at first."""

    bearer: str
    rows: list
    tried: Counter = field(default_factory=Counter)

    def attempt(self, case, **where):
        """One call, judged by the description."""
        with transaction.atomic():
            for row in self.rows:
                # A deletion that was reported takes its row away.
                if not Backup.objects.filter(pk=row["id"]).update(**row):
                    Backup(**row).save(force_insert=True)
        headers = {"Authorization": f"Bearer {self.bearer}"}
        # Django itself refuses one that is not in ALLOWED_HOSTS, before any view is called.
        case.headers.pop("Host", None)
        answer = case.call(headers=headers, **where)
        self.tried[case.operation.label, answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS, headers=headers)

    def __str__(self):
        lines = [
            f"  {label}: {count} answered {status}"
            for (label, status), count in sorted(self.tried.items())
        ]
        return "\n".join([f"{self.tried.total()} cases tried", *lines])


@pytest.fixture
def fuzzing(in_every_state, node, monkeypatch):
    # A report does not wait for the one that is being settled.
    monkeypatch.setattr(report, "PATIENCE", 0.0)
    fuzzing = Fuzzing(node.bearer_token, in_every_state)
    yield fuzzing
    print(f"\n{fuzzing}")
    # It got through to every state, and not only to what refuses all.
    wanted = {"GET": {200, 400, 404, 409}, "POST": {204, 400, 404}}
    for label in {label for label, _ in fuzzing.tried}:
        method, _, path = label.partition(" ")
        described = map(int, DESCRIPTION["paths"][path][method.lower()]["responses"])
        seen = {status for tried, status in fuzzing.tried if tried == label}
        assert wanted[method] & set(described) <= seen, str(fuzzing)


def thorough(examples):
    """The same cases at every run."""
    return settings(
        max_examples=examples,
        database=None,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


in_process = described()
in_process.app = get_wsgi_application()
over_http = described()


@in_process.parametrize()
@thorough(30)
@pytest.mark.django_db(transaction=True)
def test_fuzzed_calls_conform(case, fuzzing):
    fuzzing.attempt(case)


@over_http.parametrize()
@thorough(1_000)
@pytest.mark.once
@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.django_db(transaction=True)
def test_fuzzed_calls_conform_over_http_for_long(case, fuzzing, live_server):
    fuzzing.attempt(case, base_url=live_server.url)
