"""A directory to back up, the damage to it, and the comparison of before and after."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB: Final = 1024**2
_REGIONS: Final = 6
_REGION_SIZE: Final = 4 * MIB


class UnusableDirectoryError(Exception):
    """The directory cannot be backed up; the message says why."""


class DiffersError(Exception):
    """The directory is not as it was; the message says where."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The contents of a directory; ``size`` in bytes."""

    files: int
    size: int


#: What is known of an entry: its kind, and its content or where it leads.
Inventory: TypeAlias = "dict[str, tuple[str, str]]"


def make_world(root: Path) -> None:
    """Write the files of a small game server: regions that do not compress, and others."""
    for name in ("world/region", "world/playerdata", "plugins/Backpacks", "logs"):
        (root / name).mkdir(parents=True)
    for number in range(_REGIONS):
        region = root / f"world/region/r.{number % 3 - 1}.{number // 3}.mca"
        region.write_bytes(os.urandom(_REGION_SIZE))
    (root / "world/level.dat").write_bytes(gzip.compress(os.urandom(2048)))
    (root / "world/session.lock").touch()
    (root / "plugins/Backpacks.jar").write_bytes(os.urandom(MIB))
    (root / "plugins/Backpacks/config.yml").write_text("slots: 27\n", encoding="utf-8")
    (root / "server.properties").write_text("level-name=world\n", encoding="utf-8")
    lines = (f"[12:{n // 60 % 60:02}:{n % 60:02}] [Server] Saved the game\n" for n in range(20_000))
    (root / "logs/latest.log").write_text("".join(lines), encoding="utf-8")
    (root / "logs/current.log").symlink_to("latest.log")


def survey(root: Path) -> Survey:
    """Count the files below ``root``, and check that all can be read.

    Raises:
        UnusableDirectoryError: it is missing, not a directory, empty, or partly unreadable.

    """
    try:
        if not root.exists():
            raise UnusableDirectoryError(f"{root} does not exist.")
        if not root.is_dir():
            raise UnusableDirectoryError(f"{root} is not a directory.")
        found = _count(root)
    except OSError as error:
        raise UnusableDirectoryError(f"{error.filename} cannot be read.") from error
    if not found.files:
        raise UnusableDirectoryError(f"{root} holds no files.")
    return found


def copy(root: Path, target: Path) -> None:
    """Copy ``root`` to ``target``, which may exist: what a daemon would archive of it.

    Raises:
        OSError: a file vanished, or the disk is full.

    """
    target.mkdir(parents=True, exist_ok=True)
    for path in _entries(root):
        copied = target / path.relative_to(root)
        if path.is_symlink():
            if _stays_below(path, root):
                copied.symlink_to(path.readlink())
        elif path.is_dir():
            copied.mkdir()
        else:
            shutil.copy2(path, copied)


def take_inventory(root: Path) -> Inventory:
    """Note every entry below ``root``, with a digest of what files contain."""
    return {path.relative_to(root).as_posix(): _describe(path) for path in _entries(root)}


def compare(before: Inventory, now: Inventory) -> None:
    """Compare two inventories.

    Raises:
        DiffersError: an entry is missing, added or different.

    """
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            raise DiffersError(f"{name} is missing.")
        if name not in before:
            raise DiffersError(f"{name} was not there before.")
        if now[name] != before[name]:
            raise DiffersError(f"{name} is not the same.")


def damage(root: Path) -> str:
    """Change a file below ``root``, delete other entries, and add one; say what was done."""
    files = [path for path in _entries(root) if path.is_file() and not path.is_symlink()]
    with files[0].open("r+b") as file:
        file.write(b"damaged")
    deleted = files[1 : (len(files) + 1) // 2 + 1]
    for path in deleted:
        path.unlink()
    (root / "added by mistake").touch()
    return f"files: 1 changed, {len(deleted)} deleted, 1 added"


def _describe(path: Path) -> tuple[str, str]:
    if path.is_symlink():
        return "link", str(path.readlink())
    if path.is_dir():
        return "directory", ""
    with path.open("rb") as file:
        kind = "program" if path.stat().st_mode & stat.S_IXUSR else "file"
        return kind, hashlib.file_digest(file, "sha1").hexdigest()


def _stays_below(link: Path, root: Path) -> bool:
    target = link.readlink()
    below = (link.parent / target).resolve()
    return not target.is_absolute() and below.is_relative_to(root.resolve())


def _count(root: Path) -> Survey:
    effective = os.access in os.supports_effective_ids
    files = size = 0
    for path in _entries(root):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            if not os.access(path, os.R_OK, effective_ids=effective):
                raise UnusableDirectoryError(f"{path} cannot be read.")
            files += 1
            size += found.st_size
    return Survey(files, size)


def _entries(root: Path) -> Iterator[Path]:
    """Directories, files and links below ``root``, without sockets, pipes and devices."""

    def refuse(error: OSError) -> None:
        raise error

    for directory, names, files in os.walk(root, onerror=refuse):
        names.sort()
        for name in sorted([*names, *files]):
            path = Path(directory, name)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                yield path
