"""The host project's settings, read from the environment.

DATABASE_URL, DJANGO_SECRET_KEY, DJANGO_DEBUG, DJANGO_ALLOWED_HOSTS; for the disk ``s3``:
AWS_STORAGE_BUCKET_NAME, AWS_S3_ENDPOINT_URL, AWS_S3_REGION_NAME, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_S3_ADDRESSING_STYLE; BACKUPS_REMOTE_DEFAULT_DISK and
BACKUPS_REMOTE_MAX_PART_SIZE. An empty one counts as unset.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = os.environ.get("DJANGO_DEBUG", "").lower() in {"1", "true", "yes", "on"}
VAR_DIR = BASE_DIR / "var"
VAR_DIR.mkdir(exist_ok=True)


def _local_secret() -> str:
    """A key of this checkout's own, made at first need: there is no default to forget about."""
    path = VAR_DIR / "secret_key"
    if not path.exists():
        new = path.with_suffix(f".{os.getpid()}")
        new.touch(mode=0o600)
        new.write_text(get_random_secret_key(), encoding="utf-8")
        new.rename(path)
    return path.read_text(encoding="utf-8")


SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or _local_secret()
_hosts = os.environ.get("DJANGO_ALLOWED_HOSTS", "").split(",")
ALLOWED_HOSTS = [host.strip() for host in _hosts if host.strip()] or [
    "localhost",
    "127.0.0.1",
    "[::1]",
]

INSTALLED_APPS = [
    "backups_remote",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "panel_site.urls"
WSGI_APPLICATION = "panel_site.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES: dict[str, Any] = {
    "default": dj_database_url.parse(
        os.environ.get("DATABASE_URL") or f"sqlite:///{VAR_DIR / 'panel.sqlite3'}",
        conn_max_age=60,
    )
}
_database = DATABASES["default"]
if _database["ENGINE"].endswith("sqlite3"):
    # Readers and the one writer do not wait for each other, writers wait their turn.
    _database.setdefault("OPTIONS", {}).update(
        transaction_mode="IMMEDIATE",
        timeout=20,
        init_command="PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    )
if _database["ENGINE"].endswith("mysql"):
    _database.setdefault("OPTIONS", {}).setdefault("charset", "utf8mb4")
# MariaDB ignores the conditions of the partial indexes: there they are whole ones.
SILENCED_SYSTEM_CHECKS = ["models.W037"]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STATIC_ROOT.mkdir(exist_ok=True)
WHITENOISE_USE_FINDERS = True

STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
if bucket := os.environ.get("AWS_STORAGE_BUCKET_NAME"):
    _options = {
        "bucket_name": bucket,
        "endpoint_url": os.environ.get("AWS_S3_ENDPOINT_URL"),
        "region_name": os.environ.get("AWS_S3_REGION_NAME"),
        "access_key": os.environ.get("AWS_ACCESS_KEY_ID"),
        "secret_key": os.environ.get("AWS_SECRET_ACCESS_KEY"),
        "addressing_style": os.environ.get("AWS_S3_ADDRESSING_STYLE"),
    }
    STORAGES["s3"] = {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {name: value for name, value in _options.items() if value},
    }

BACKUPS_REMOTE: dict[str, Any] = {}
if disk := os.environ.get("BACKUPS_REMOTE_DEFAULT_DISK"):
    BACKUPS_REMOTE["DEFAULT_DISK"] = disk
if part_size := os.environ.get("BACKUPS_REMOTE_MAX_PART_SIZE"):
    try:
        BACKUPS_REMOTE["MAX_PART_SIZE"] = int(part_size)
    except ValueError:
        raise ImproperlyConfigured(
            f"BACKUPS_REMOTE_MAX_PART_SIZE is no number of bytes: {part_size!r}."
        ) from None
