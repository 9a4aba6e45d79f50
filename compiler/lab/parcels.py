"""Parcels: folders that go from one store to another through the depot, file by file, by digest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.store import RECORD, Store, weights_of
from compiler.workshop import Unavailable
from elastiq import digest

CHUNK = 8 << 20  # bytes at a time
Call = Callable[..., Any]  # an operation of the depot, by name


@dataclass(frozen=True)
class Parcel:
    """A folder: its files by path and the weights that they refer to, all by digest."""

    files: Mapping[str, str]
    weights: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, Any]:
        return {"files": dict(self.files), "weights": list(self.weights)}


def pack(folder: Path) -> Parcel:
    """What is in a folder, but for what the store wrote there."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != RECORD]
    files = {path.relative_to(folder).as_posix(): digest.of_file(path) for path in paths}
    return Parcel(files, weights_of(folder))


def send(parcel: Parcel, folder: Path, weights: Path, depot: Call) -> None:
    """Bring to the depot what it lacks."""
    places = {sha: folder / name for name, sha in parcel.files.items()}
    places |= {name: weights / name for name in parcel.weights}
    for sha in depot("elastiq_lacks", names=list(places)):
        _put(sha, places[sha], depot)


def unpack(parcel: Parcel, out: Path, weights: Path, depot: Call) -> None:
    """Fill a folder from the depot, and add the weights that are not here yet."""
    for name, sha in parcel.files.items():
        path = out / name
        if not path.resolve().is_relative_to(out.resolve()):
            raise Unavailable(f"a parcel names a file outside of its folder: {name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        _get(sha, path, depot)
    for sha in _absent(parcel.weights, weights):
        draft = out / f".{sha}"
        _get(sha, draft, depot)
        shutil.move(draft, weights / sha)


def received(parcel: Parcel, store: Store, depot: Call) -> Path:
    """The folder in this store, fetched if it is not there."""

    def make(folder: Path) -> None:
        unpack(parcel, folder, store.weights, depot)

    return store.produce("received", parcel.identity, make)[0]


def _absent(names: Iterable[str], folder: Path) -> list[str]:
    return [name for name in names if not (folder / name).exists()]


def _put(sha: str, path: Path, depot: Call) -> None:
    draft, left = "", path.stat().st_size
    with path.open("rb") as file:
        while True:
            data = file.read(CHUNK)
            left -= len(data)
            draft = depot("elastiq_put", name=sha, draft=draft, data=data, last=left <= 0)
            if left <= 0:
                return


def _get(sha: str, path: Path, depot: Call) -> None:
    with path.open("wb") as file:
        while True:
            data = depot("elastiq_get", name=sha, offset=file.tell())
            if data is None:
                raise Unavailable(f"the lab has no file {sha} any more; run the same command again")
            file.write(data)
            if len(data) < CHUNK:
                break
    if digest.of_file(path) != sha:
        raise Unavailable(f"{sha} arrived damaged; run the same command again")
