"""A bundle as a single file: a tar of what its manifest names, manifest first, under Zstandard.

The same bundle gives the same bytes. A device unpacks an archive once, into its cache: the
digest of the manifest, which is at the head of the file, says whether that was done before.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import IO

from elastiq import cache, digest, manifest
from elastiq.errors import BundleError, ElastiqError, missing
from elastiq.manifest import FileRecord, inside

SUFFIX = ".zst"
MAGIC = b"\x28\xb5\x2f\xfd"
LEVEL = 10
LONGEST = 64 << 20  # bytes of a manifest
PREFIX = "bundle-"
KEPT = 30 * 86400.0  # seconds without use, after which an unpacked bundle goes


def is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def pack(folder: Path, out: Path) -> None:
    """Write a bundle's archive, whole or not at all."""
    files = manifest.read(folder).files
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    compressor = zstandard().ZstdCompressor(level=LEVEL, write_checksum=True)
    try:
        with (
            draft.open("wb") as file,
            compressor.stream_writer(file, closefd=False) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name in (manifest.FILE, *sorted(files)):
                _add(tar, inside(folder, name), name)
        digest.sync(draft)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


def unpacked(archive: Path) -> Path:
    """The folder of an archive's bundle on this device, unpacked now unless it is there already."""
    with _opened(archive) as tar:
        head = _read_manifest(tar)
        place = cache.folder() / f"{PREFIX}{digest.of_bytes(head)}"
        if _is_whole(place):
            cache.touch(place.name)
            return place
        cache.folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_unused()
        draft = Path(tempfile.mkdtemp(prefix=cache.DRAFT, dir=cache.folder()))
        try:
            (draft / manifest.FILE).write_bytes(head)
            _unpack(tar, manifest.read(draft).files, draft)
            digest.sync_tree(draft)
            _publish(draft, place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return place


def _add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    info = tarfile.TarInfo(name)  # of no date and no owner, so that bytes depend on content alone
    info.size = path.stat().st_size
    with path.open("rb") as content:
        tar.addfile(info, content)


@contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    zstd = zstandard()
    try:
        with (
            archive.open("rb") as file,
            zstd.ZstdDecompressor().stream_reader(file) as reader,
            tarfile.open(fileobj=reader, mode="r|") as tar,
        ):
            yield tar
    except (zstd.ZstdError, tarfile.TarError, EOFError) as e:
        raise BundleError(f"{archive} is damaged, or no bundle: {e}. Copy it again.") from e
    except OSError as e:
        raise BundleError(f"{archive} cannot be unpacked: {e}") from e


def _read_manifest(tar: tarfile.TarFile) -> bytes:
    first = tar.next()
    if first is None or first.name != manifest.FILE or not first.isreg() or first.size > LONGEST:
        raise tarfile.ReadError(f"it does not begin with {manifest.FILE}")
    return _content(tar, first).read()


def _unpack(tar: tarfile.TarFile, files: dict[str, FileRecord], folder: Path) -> None:
    """Write what the manifest names, in the size that it says, and nothing else."""
    needed = sum(record.size for record in files.values())
    if needed > shutil.disk_usage(folder).free:
        raise ElastiqError(f"{folder.parent} has no room for the {needed / 1e6:.0f} MB of a bundle")
    missing_yet = dict(files)
    while (member := tar.next()) is not None:
        record = missing_yet.pop(member.name, None)
        if record is None or not member.isreg() or member.size != record.size:
            raise tarfile.ReadError(f"{member.name!r} is not what the manifest says")
        path = inside(folder, member.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as out:
            shutil.copyfileobj(_content(tar, member), out)
    if missing_yet:
        raise tarfile.ReadError(f"{next(iter(missing_yet))} is missing")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    found = tar.extractfile(member)
    assert found is not None  # it is a regular file
    return found


def _is_whole(place: Path) -> bool:
    """Whether every file is there in its size. Digests are checked when a file is used."""
    try:
        files = manifest.read(place).files
        return all((place / name).stat().st_size == record.size for name, record in files.items())
    except (BundleError, OSError):
        return False


def _publish(draft: Path, place: Path) -> None:
    try:
        draft.replace(place)
    except OSError:
        if _is_whole(place):
            return  # another process was faster
        shutil.rmtree(place)
        draft.replace(place)


def _forget_unused() -> None:
    for path in cache.folder().glob(f"{PREFIX}*"):
        if time.time() - path.stat().st_mtime > KEPT:
            shutil.rmtree(path, ignore_errors=True)


@lru_cache(maxsize=1)
def zstandard() -> ModuleType:
    """The compressor, if it is installed."""
    try:
        import zstandard
    except ImportError as e:
        raise missing("zstandard", "archive") from e
    return zstandard
