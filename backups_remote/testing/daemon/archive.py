"""Archives of a server's files: packed without what is ignored, and unpacked over what is there."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import stat
import tarfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK: Final = 1024**2


class Readable(Protocol):
    """A source of bytes, such as a download."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` bytes, none at the end."""


class Hashing:
    """Passes on what is written; knows its size in bytes and its checksum."""

    def __init__(self, write: Callable[[bytes], object], checksum_type: str) -> None:
        self._write = write
        self._hash = hashlib.new(checksum_type, usedforsecurity=False)
        self.size = 0

    def write(self, data: bytes) -> int:
        """Pass on ``data``."""
        self._write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Required by GzipFile."""

    @property
    def checksum(self) -> str:
        """The checksum so far, in hex."""
        return self._hash.hexdigest()


def pack(root: Path, target: Hashing, ignore: str, each: Callable[[], object]) -> int:
    """Write the files below ``root`` to ``target`` as a .tar.gz; the number of files.

    ``ignore`` has a pattern on each line, as in .gitignore. ``each`` is called before each entry.

    Raises:
        OSError: a file vanished or shrank, or the disk is full.

    """
    ignored = Ignored(ignore)
    files = 0
    with (
        # The fast level that daemons use.
        gzip.GzipFile(filename="", fileobj=target, mode="wb", compresslevel=1) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", bufsize=_CHUNK) as tar,
    ):
        for path, name in _entries(root, ignored):
            each()
            member = tar.gettarinfo(path, arcname=name)
            if member.islnk():
                # Every name of a file is packed as a file of its own.
                member.type, member.linkname = tarfile.REGTYPE, ""
                member.size = path.lstat().st_size
            if member.isreg():
                files += 1
                with path.open("rb") as content:
                    tar.addfile(member, content)
            else:
                tar.addfile(member)
    return files


def unpack(stream: Readable, root: Path, each: Callable[[], object]) -> None:
    """Unpack a .tar.gz over the files below ``root``; ``each`` is called before each entry.

    Raises:
        OSError, EOFError, tarfile.TarError, zlib.error: it is no such archive, or broke off.

    """
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|gz", bufsize=_CHUNK) as tar:
        for member in tar:
            each()
            path = Path(os.path.normpath(root / member.name))
            # What lies outside is refused below.
            if root in path.parents and path.parent.resolve().is_relative_to(root.resolve()):
                _make_way(path, directory=member.isdir())
            tar.extract(member, root, filter="data")
    while stream.read(_CHUNK):
        pass  # to the end of the download, whatever pads it


def truncate(root: Path) -> None:
    """Delete everything below ``root``."""
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _make_way(path: Path, *, directory: bool) -> None:
    """Delete what an entry of another kind, or another content, replaces."""
    is_directory = path.is_dir() and not path.is_symlink()
    if is_directory and not directory:
        shutil.rmtree(path)
    elif os.path.lexists(path) and not is_directory:
        path.unlink()


def _entries(root: Path, ignored: Ignored) -> Iterator[tuple[Path, str]]:
    """Directories, files, and links that stay below ``root``, with their names in an archive."""

    def refuse(error: OSError) -> None:
        raise error

    top = root.resolve()
    for directory, names, files in os.walk(root, onerror=refuse):
        below = Path(directory).relative_to(root)
        names[:] = sorted(
            name for name in names if not ignored.matches((below / name).as_posix(), is_dir=True)
        )
        for name in [*names, *sorted(files)]:
            path = Path(directory, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode) and not _stays_below(path, top):
                continue
            known = (below / name).as_posix()
            is_file = stat.S_ISREG(mode) or stat.S_ISLNK(mode)
            if stat.S_ISDIR(mode) or (is_file and not ignored.matches(known)):
                yield path, known


def _stays_below(link: Path, top: Path) -> bool:
    target = link.readlink()
    return not target.is_absolute() and (link.parent / target).resolve().is_relative_to(top)


class Ignored:
    """The patterns of .gitignore that matter here: ``*``, ``?``, ``**``, ``/`` and ``!``."""

    def __init__(self, lines: str) -> None:
        self._rules: list[tuple[re.Pattern[str], bool, bool]] = []
        for line in lines.splitlines():
            pattern = line.strip()
            if not pattern or pattern.startswith("#"):
                continue
            keeps = pattern.startswith("!")
            pattern = pattern.removeprefix("!")
            only_directories = pattern.endswith("/")
            pattern = pattern.rstrip("/")
            # Without a slash, a name matches in every directory.
            prefix = "" if "/" in pattern else "(?:.*/)?"
            expression = prefix + _expression(pattern.lstrip("/"))
            self._rules.append((re.compile(expression, re.DOTALL), keeps, only_directories))

    def matches(self, name: str, *, is_dir: bool = False) -> bool:
        """Whether the last pattern that names it says to leave it out."""
        out = False
        for pattern, keeps, only_directories in self._rules:
            if (is_dir or not only_directories) and pattern.fullmatch(name):
                out = not keeps
        return out


#: What a glob's sign stands for.
_SIGNS: Final = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _expression(glob: str) -> str:
    signs = re.split(r"(\*\*/|\*\*|\*|\?)", glob)
    return "".join(_SIGNS.get(sign, re.escape(sign)) for sign in signs)
