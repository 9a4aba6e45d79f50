"""The manifest: what a bundle holds, with a digest of every file."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from elastiq import digest
from elastiq.codec import decode, plain
from elastiq.errors import BundleError, ElastiqError
from elastiq.records import EngineRecord, PointRecord

SCHEMA_VERSION = 1
FILE = "manifest.json"


@dataclass(frozen=True)
class FileRecord:
    """The digest and size that a file must have."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """Everything a device needs to know before it touches a file. Points are cheapest first."""

    schema_version: int
    name: str
    driver: str
    target: str
    metric: str
    threads: int
    points: tuple[PointRecord, ...]
    engines: tuple[EngineRecord, ...]
    files: dict[str, FileRecord]
    toolchain: dict[str, str]
    driver_settings: dict[str, Any] = field(default_factory=dict)
    accuracy_drop: float = 0.0  # points of the metric that an engine may cost

    def to_json(self) -> bytes:
        """The manifest with a digest over itself, so that damage to it is seen too."""
        body = plain(self)
        body["digest"] = digest.of_value(body)
        return (json.dumps(body, indent=1) + "\n").encode()


def read(folder: Path) -> Manifest:
    """Read and check the manifest of a bundle folder."""
    path = folder / FILE
    try:
        body = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a bundle: it holds no {FILE}") from None
    except NotADirectoryError:
        raise BundleError(f"{folder} is not a bundle folder") from None
    except (OSError, ValueError) as e:
        raise BundleError(f"{path} cannot be read: {e}. Copy the bundle again.") from e
    if not isinstance(body, dict) or "schema_version" not in body:
        raise BundleError(f"{path} is not an Elastiq manifest")
    if body["schema_version"] != SCHEMA_VERSION:
        raise BundleError(
            f"{path} has schema {body['schema_version']}; this Elastiq reads {SCHEMA_VERSION}. "
            "Rebuild the bundle, or install the version that wrote it."
        )
    claimed = body.pop("digest", None)
    try:
        if claimed != digest.of_value(body):
            raise BundleError(f"{path} was altered: its digest does not match. Copy it again.")
        manifest = decode(Manifest, body, FILE)
    except BundleError:
        raise
    except (ElastiqError, ValueError) as e:
        raise BundleError(f"{path}: {e}") from e
    for name in manifest.files:
        inside(folder, name)
    return manifest


def inside(folder: Path, name: str) -> Path:
    """The path of a file that a manifest names, refused if it could lie outside the bundle."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\\" in name:
        raise BundleError(f"the manifest names {name!r}, which lies outside the bundle")
    path = folder / pure
    if path.is_symlink():
        raise BundleError(f"{path} is a link; a bundle holds plain files only")
    return path
