"""The host project's settings, read from the environment.

DATABASE_URL, DJANGO_SECRET_KEY, DJANGO_DEBUG, DJANGO_ALLOWED_HOSTS; for the disk ``s3``:
AWS_STORAGE_BUCKET_NAME, AWS_S3_ENDPOINT_URL, AWS_S3_REGION_NAME, AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_S3_ADDRESSING_STYLE; BACKUPS_REMOTE_DAEMON,
BACKUPS_REMOTE_DEFAULT_DISK and BACKUPS_REMOTE_MAX_PART_SIZE; ADMIN_THEME (stock, unfold or
jazzmin). An empty variable counts as unset.
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
    """A key for this checkout, generated when first needed: no default that might go live."""
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

# Before the admin, whose templates a theme replaces.
_themes = {"stock": [], "unfold": ["unfold"], "jazzmin": ["jazzmin"]}
ADMIN_THEME = os.environ.get("ADMIN_THEME") or "stock"
if ADMIN_THEME not in _themes:
    raise ImproperlyConfigured(f"ADMIN_THEME is none of {', '.join(_themes)}: {ADMIN_THEME!r}.")

INSTALLED_APPS = [
    "backups_remote",
    *_themes[ADMIN_THEME],
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
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "panel_site.urls"
WSGI_APPLICATION = "panel_site.wsgi.application"
# No fonts from elsewhere, and the browser's colour scheme.
JAZZMIN_SETTINGS = {"use_google_fonts_cdn": False}
JAZZMIN_UI_TWEAKS = {"default_theme_mode": "auto"}
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
    # WAL: readers and the writer do not block each other. Writers queue.
    _database.setdefault("OPTIONS", {}).update(
        transaction_mode="IMMEDIATE",
        timeout=20,
        init_command="PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    )
if _database["ENGINE"].endswith("mysql"):
    _database.setdefault("OPTIONS", {}).setdefault("charset", "utf8mb4")
# MariaDB ignores the conditions of partial indexes and indexes all rows.
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

# For nodes that keep their archives: see the system check backups_remote.W002.
BACKUPS_REMOTE: dict[str, Any] = {"REPORT_REPLAY_WINDOW": 300}
if daemon := os.environ.get("BACKUPS_REMOTE_DAEMON"):
    BACKUPS_REMOTE["DAEMON"] = daemon
if disk := os.environ.get("BACKUPS_REMOTE_DEFAULT_DISK"):
    BACKUPS_REMOTE["DEFAULT_DISK"] = disk
if part_size := os.environ.get("BACKUPS_REMOTE_MAX_PART_SIZE"):
    try:
        BACKUPS_REMOTE["MAX_PART_SIZE"] = int(part_size)
    except ValueError:
        raise ImproperlyConfigured(
            f"BACKUPS_REMOTE_MAX_PART_SIZE is not a number of bytes: {part_size!r}."
        ) from None
