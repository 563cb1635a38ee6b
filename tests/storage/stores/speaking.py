"""A proxy that makes one store answer in another's dialect, as far as answers alone can do it."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

from backups_remote.storage.s3.differences import Call
from backups_remote.testing import State
from tests.support.proxy import Proxy, classify, error_body

CALLS = {"list_parts": Call.LIST_PARTS, "complete": Call.COMPLETE, "abort": Call.ABORT}
STATUS = {"InternalError": 500, "InvalidArgument": 400}
NO_UPLOADS = b"<ListMultipartUploadsResult><Bucket>b</Bucket></ListMultipartUploadsResult>"
XML = [("Content-Type", "application/xml")]


class Speaking(Proxy):
    """``with Speaking(store.endpoint, dialect) as proxy``."""

    def __init__(self, upstream, dialect):
        super().__init__(upstream)
        self.dialect = dialect
        #: Upload id → State, None while it is open.
        self.states = {}
        self.last_lists = {}
        #: No upload began since the store's last start.
        self.has_restarted = False
        self.deleted = set()

    def retell(self, method, target, status, headers, content):
        operation, key = classify(method, target)
        query = {n: v[0] for n, v in parse_qs(urlsplit(target).query).items()}
        upload_id = query.get("uploadId", "")
        state = self.states.get(upload_id, State.UNKNOWN)
        answer = status, headers, content
        teller = getattr(self, f"_on_{operation}", None)
        if teller is not None:
            answer = teller(answer, key, query, state) or answer
        self._note(operation, upload_id, state, status, content)
        return answer

    def _note(self, operation, upload_id, state, status, content):
        if operation == "create" and status == 200:
            begun = re.search(rb"<UploadId>(.+?)</UploadId>", content)[1].decode()
            self.states[begun] = None
        elif operation == "complete" and status == 200 and state is None:
            self.states[upload_id] = State.FINISHED
        elif operation == "abort" and status < 300 and state is None:
            self.states[upload_id] = State.ABORTED

    def _on_complete(self, answer, key, query, state):
        status, headers, content = answer
        if state is None:
            if status == 200 and not self.dialect.answers_etag:
                return status, headers, re.sub(rb"<ETag>.*?</ETag>", b"<ETag></ETag>", content)
            return answer
        if state is State.FINISHED and self.dialect.completes_again:
            return answer
        return self._error(Call.COMPLETE, state)

    def _on_abort(self, answer, key, query, state):
        if state is None:
            return answer
        if (Call.ABORT, state) in self.dialect.codes:
            return self._error(Call.ABORT, state)
        return 204, [], b""

    def _on_list_parts(self, answer, key, query, state):
        upload_id = query["uploadId"]
        if state is None:
            self.last_lists[upload_id] = answer
            return answer
        if state in self.dialect.lists_parts:
            return self.last_lists[upload_id]
        if state in self.dialect.lists_no_parts:
            nothing = f"<ListPartsResult><UploadId>{upload_id}</UploadId></ListPartsResult>"
            return 200, XML, nothing.encode()
        return self._error(Call.LIST_PARTS, state)

    def _on_part(self, answer, key, query, state):
        if state in self.dialect.takes_parts:
            return 200, [("ETag", '"0"')], b""
        return answer

    def _on_list_uploads(self, answer, key, query, state):
        prefix = query.get("prefix", "")
        if self.dialect.code_before_first_upload and not self.states:
            return 404, XML, error_body(self.dialect.code_before_first_upload)
        marked = "key-marker" in query and "upload-id-marker" in query
        if self.dialect.code_for_second_page and marked:
            return 400, XML, error_body(self.dialect.code_for_second_page)
        if self.dialect.lists_exact_keys_only and prefix and not prefix.endswith(".tar.gz"):
            answer = answer[0], answer[1], NO_UPLOADS
        if self.dialect.lists_since_start_only and not prefix and self.has_restarted:
            answer = answer[0], answer[1], NO_UPLOADS
        if self.dialect.server_header:
            status, headers, content = answer
            kept = [header for header in headers if header[0].lower() != "server"]
            return status, [*kept, ("Server", self.dialect.server_header)], content
        return answer

    def _on_delete(self, answer, key, query, state):
        code = self.dialect.codes.get((Call.DELETE, State.UNKNOWN))
        which = key, query.get("versionId", "")
        if code and which[1] and which in self.deleted:
            return STATUS[code], XML, error_body(code)
        self.deleted.add(which)
        return answer

    def _error(self, call, state):
        code = self.dialect.codes.get((call, state), "NoSuchUpload")
        return STATUS.get(code, 404), XML, error_body(code)
