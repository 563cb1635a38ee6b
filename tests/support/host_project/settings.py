"""Its settings, hostile where they can be."""

import json
import os

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, STORAGES

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tests.support.host_project.drf.Bang"],
    "DEFAULT_PERMISSION_CLASSES": ["tests.support.host_project.drf.Bang"],
    "DEFAULT_THROTTLE_CLASSES": ["tests.support.host_project.drf.Bang"],
    "DEFAULT_PARSER_CLASSES": ["tests.support.host_project.drf.Bang"],
    "DEFAULT_RENDERER_CLASSES": ["tests.support.host_project.drf.Shouting"],
    "DEFAULT_FILTER_BACKENDS": ["tests.support.host_project.drf.Bang"],
    "EXCEPTION_HANDLER": "tests.support.host_project.drf.answer_as_a_teapot",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "tests.support.host_project.drf.Bang",
    "DEFAULT_METADATA_CLASS": "tests.support.host_project.drf.Bang",
    "DEFAULT_VERSIONING_CLASS": "tests.support.host_project.drf.Bang",
    "DEFAULT_PAGINATION_CLASS": "tests.support.host_project.drf.Bang",
    "DEFAULT_VERSION": "9",
    "ALLOWED_VERSIONS": ["9"],
    "PAGE_SIZE": 1,
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
    "NON_FIELD_ERRORS_KEY": "host",
    "FORMAT_SUFFIX_KWARG": "backup",
    "URL_FORMAT_OVERRIDE": "size",
    "COMPACT_JSON": False,
    "STRICT_JSON": False,
}
ROOT_URLCONF = "tests.support.host_project.urls"
# The rest of what a host may have on.
SECURE_SSL_REDIRECT = True
SECURE_REDIRECT_EXEMPT = [r"^api/remote/"]
APPEND_SLASH = True
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
DATA_UPLOAD_MAX_MEMORY_SIZE = 10
LANGUAGE_CODE = "de"

_told = json.loads(os.environ["HOST_PROJECT"])
DATABASES["default"] |= {"NAME": _told["database"], "ATOMIC_REQUESTS": True}
STORAGES |= {"s3": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": _told["storage"]}}
BACKUPS_REMOTE = {"DEFAULT_DISK": "s3", "MAX_PART_SIZE": 5 * 1024**2}
