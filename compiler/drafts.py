"""A bundle is written beside its final place, and appears there whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elastiq import digest


@contextmanager
def drafted(out: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `out` if nothing was raised."""
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield draft
        draft.chmod(0o755)
        digest.sync_tree(draft)
        _replace(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _replace(draft: Path, out: Path) -> None:
    """Put the draft in the place of an older bundle, which stays whole until then."""
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
        out.rename(old / out.name)
        draft.rename(out)
        shutil.rmtree(old)
    else:
        draft.rename(out)
    digest.sync(out.parent)
