"""A directory to back up, its archive, and the comparison of the two.

Nothing here holds more than a buffer of a file in memory.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB: Final = 1024**2
_REGIONS: Final = 6
_REGION_SIZE: Final = 4 * MIB
#: What the daemon uses: fast.
_COMPRESSION: Final = 1


class UnusableDirectoryError(Exception):
    """The directory cannot be backed up; the message says why."""


class DiffersError(Exception):
    """The archive is not what the directory holds; the message says where."""


class Readable(Protocol):
    """What a download is read from."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, none at the end."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What a directory holds: ``size`` in bytes."""

    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Archive:
    """A finished .tar.gz: ``size`` in bytes, ``sha1`` in hex."""

    path: Path
    size: int
    sha1: str


def make_world(root: Path) -> None:
    """Write a small game server: regions that do not compress, and what lies beside them."""
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
    """Look at everything below ``root`` once.

    Raises:
        UnusableDirectoryError: it is missing, no directory, empty, or partly unreadable.

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


def pack(root: Path, target: Path, on_bytes: Callable[[int], None]) -> Archive:
    """Write ``root`` to ``target`` as a .tar.gz; ``on_bytes`` hears of the bytes packed.

    Raises:
        OSError: a file vanished or shrank, or the disk is full.

    """
    with target.open("wb") as file:
        hashing = _HashingWriter(file.write)
        with (
            gzip.GzipFile(
                filename="", fileobj=hashing, mode="wb", compresslevel=_COMPRESSION
            ) as gz,
            tarfile.open(fileobj=gz, mode="w|", bufsize=MIB) as tar,
        ):
            for path in _entries(root):
                member = tar.gettarinfo(path, arcname=str(path.relative_to(root)))
                if member.isreg():
                    with path.open("rb") as content:
                        tar.addfile(member, content)
                    on_bytes(member.size)
                else:
                    tar.addfile(member)
    return Archive(target, hashing.size, hashing.hexdigest())


def compare(stream: Readable, root: Path) -> Archive:
    """Unpack ``stream`` in passing and compare every entry with ``root``.

    Raises:
        DiffersError: an entry is missing, added or different, or the archive is broken.

    """
    hashing = _HashingReader(stream)
    expected = {str(path.relative_to(root)) for path in _entries(root)}
    try:
        with tarfile.open(fileobj=hashing, mode="r|gz", bufsize=MIB) as tar:
            for member in tar:
                if member.name not in expected:
                    raise DiffersError(f"{member.name} is not in the directory.")
                expected.remove(member.name)
                _compare_entry(tar, member, root)
        while hashing.read(MIB):
            pass
    except FileNotFoundError as error:
        raise DiffersError(f"{error.filename} is gone.") from error
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DiffersError(f"The archive cannot be read ({type(error).__name__}).") from error
    if expected:
        raise DiffersError(f"{min(expected)} is not in the archive.")
    return Archive(root, hashing.size, hashing.hexdigest())


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
    """Directories, files and links below ``root``; sockets, pipes and devices are left out."""

    def refuse(error: OSError) -> None:
        raise error

    for directory, names, files in os.walk(root, onerror=refuse):
        names.sort()
        for name in sorted([*names, *files]):
            path = Path(directory, name)
            mode = path.lstat().st_mode
            if stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                yield path


def _compare_entry(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    path = root / member.name
    found = path.lstat()
    if stat.S_IMODE(found.st_mode) != member.mode:
        raise DiffersError(f"{member.name} has other permissions.")
    if member.isdir():
        same = path.is_dir() and not path.is_symlink()
    elif member.issym():
        same = path.is_symlink() and str(path.readlink()) == member.linkname
    elif member.islnk():
        same = path.samefile(root / member.linkname)
    else:
        content = tar.extractfile(member)
        same = (
            content is not None
            and stat.S_ISREG(found.st_mode)
            and found.st_size == member.size
            and _same_content(content, path)
        )
    if not same:
        raise DiffersError(f"{member.name} is not the same.")


def _same_content(content: Readable, path: Path) -> bool:
    with path.open("rb") as file:
        while True:
            ours = content.read(MIB)
            if file.read(len(ours) or 1) != ours:
                return False
            if not ours:
                return True


class _HashingWriter:
    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> int:
        self._write(data)
        self._sha1.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """GzipFile asks for it."""

    def hexdigest(self) -> str:
        return self._sha1.hexdigest()


class _HashingReader(io.RawIOBase):
    def __init__(self, stream: Readable) -> None:
        super().__init__()
        self._stream = stream
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self.size = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._sha1.update(data)
        self.size += len(data)
        return data

    def hexdigest(self) -> str:
        return self._sha1.hexdigest()
