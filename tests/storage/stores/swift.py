"""OpenStack Swift on one node, with the S3 API in front, from Debian's packages."""

from __future__ import annotations

import contextlib
import subprocess

from tests.storage.stores.processes import (
    Processes,
    StoreOnDisk,
    found,
    listens,
    makes_its_bucket,
)

KINDS = ("account", "container", "object")
PIPELINE = (
    *("catch_errors", "gatekeeper", "healthcheck", "cache", "listing_formats", "bulk"),
    *("s3api", "tempauth", "slo", "dlo", "versioned_writes", "symlink", "proxy-server"),
)
#: Options of the proxy's filters, beside the entry point that each is.
FILTERS = {
    "cache": {"use": "egg:swift#memcache"},
    "tempauth": {"user_panel_panel": "panel-secret .admin"},
    "s3api": {
        "location": "us-east-1",
        "min_segment_size": 5 * 1024**2,
        "max_upload_part_num": 10_000,
    },
    "slo": {"max_manifest_segments": 10_000},
    "versioned_writes": {"allow_object_versioning": "true"},
}


def version():
    said = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", "swift-proxy"],
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout.partition("-")[0]


@contextlib.contextmanager
def running():
    programs = {kind: found(f"swift-{kind}-server") for kind in (*KINDS, "proxy")}
    builder, memcached = found("swift-ring-builder"), found("memcached")
    with Processes("swift") as processes:
        proxy, cache, *ports = processes.ports(2 + len(KINDS))
        here = processes.directory
        disk = processes.mount("disks", 2 * 1024**3)
        (here / "disks/one").mkdir()
        store = StoreOnDisk(
            f"http://127.0.0.1:{proxy}", "backups", "panel:panel", "panel-secret", disk=disk
        )
        salt = {"swift_hash_path_prefix": "prefix", "swift_hash_path_suffix": "suffix"}
        _write(here / "swift.conf", {"swift-hash": salt})
        for kind, port in zip(KINDS, ports, strict=True):
            _write(here / f"{kind}.conf", _server(here, kind, port))
            ring = f"{kind}.builder"
            processes.run(builder, ring, "create", 4, 1, 1)
            processes.run(builder, ring, "add", f"r1z1-127.0.0.1:{port}/one", 1)
            processes.run(builder, ring, "rebalance")
            processes.start(kind, programs[kind], here / f"{kind}.conf")
        _write(here / "proxy.conf", _proxy(here, proxy, cache))
        processes.start("memcached", memcached, "-u", "nobody", "-l", "127.0.0.1", "-p", cache)
        processes.start("proxy", programs["proxy"], here / "proxy.conf")
        processes.wait(lambda: all(map(listens, (*ports, cache, proxy))))
        processes.wait(lambda: makes_its_bucket(store))
        yield store


def _server(here, kind, port):
    return {
        "DEFAULT": {**_common(here, port), "devices": here / "disks", "mount_check": "false"},
        "pipeline:main": {"pipeline": f"{kind}-server"},
        f"app:{kind}-server": {"use": f"egg:swift#{kind}"},
    }


def _proxy(here, port, cache):
    sections = {
        "DEFAULT": {**_common(here, port), "workers": 2},
        "pipeline:main": {"pipeline": " ".join(PIPELINE)},
        "app:proxy-server": {
            "use": "egg:swift#proxy",
            "account_autocreate": "true",
            "allow_account_management": "true",
        },
    }
    for name in PIPELINE[:-1]:
        options = {"use": f"egg:swift#{name}", **FILTERS.get(name, {})}
        if name == "cache":
            options["memcache_servers"] = f"127.0.0.1:{cache}"
        sections[f"filter:{name}"] = options
    return sections


def _common(here, port):
    return {
        "bind_ip": "127.0.0.1",
        "bind_port": port,
        "workers": 1,
        "user": "root",
        "swift_dir": here,
        # No syslog is here to take its lines.
        "log_address": here / "no-syslog",
    }


def _write(path, sections):
    lines = []
    for name, options in sections.items():
        lines += [f"[{name}]", *(f"{option} = {value}" for option, value in options.items()), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
