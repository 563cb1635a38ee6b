"""The calls of a backend that go to its store. The signing of URLs is none."""

STORE_CALLS = (
    "create_upload",
    "list_parts",
    "complete_upload",
    "abort_upload",
    "stat",
    "open_uploads",
    "delete",
)
