"""Bundles in a single file: the same bytes each time, unpacked once, and nothing beside."""

from __future__ import annotations

import io
import os
import shutil
import tarfile

import pytest
import zstandard

import elastiq
from elastiq import archive, cache, manifest
from elastiq.errors import BundleError

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def packed(tiny_bundle, tmp_path):
    path = tmp_path / "tiny.elastiq.zst"
    archive.pack(tiny_bundle, path)
    return path


def repacked(packed, path, change):
    """An archive with its members changed by `change(name, content) -> [(TarInfo, content)]`."""
    plain = zstandard.ZstdDecompressor().stream_reader(packed.open("rb")).read()
    made = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(plain)) as old,
        tarfile.open(fileobj=made, mode="w") as new,
    ):
        for member in old:
            for info, content in change(member.name, old.extractfile(member).read()):
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))
    path.write_bytes(zstandard.ZstdCompressor().compress(made.getvalue()))
    return path


def test_the_same_bundle_gives_the_same_bytes(packed, tiny_bundle, tmp_path):
    copy = tmp_path / "copy.elastiq"
    shutil.copytree(tiny_bundle, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1.0, 1.0))
    archive.pack(copy, tmp_path / "again.zst")
    assert packed.read_bytes() == (tmp_path / "again.zst").read_bytes()


def test_an_archive_answers_as_its_bundle_does(packed, tiny_bundle):
    with elastiq.open(packed) as ours, elastiq.open(tiny_bundle) as theirs:
        assert ours.check() == theirs.check()
        image = theirs.samples().input(0)
        point = theirs.manifest.points[0].name
        assert ours.execute(point, image)["logits"].tobytes() == (
            theirs.execute(point, image)["logits"].tobytes()
        )


def test_it_is_unpacked_once(packed, monkeypatch):
    place = archive.unpacked(packed)
    monkeypatch.setattr(archive, "_unpack", None)
    assert archive.unpacked(packed) == place


def test_what_was_lost_of_it_is_unpacked_again(packed):
    place = archive.unpacked(packed)
    (place / "samples.npz").write_bytes(b"")
    assert archive.unpacked(packed) == place
    with elastiq.open(packed) as bundle:
        assert bundle.check()


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_refused_and_leaves_nothing(packed, kept):
    content = packed.read_bytes()
    packed.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(BundleError, match="Copy it again"):
        elastiq.open(packed)
    assert not list(cache.folder().glob("*")) if cache.folder().exists() else True


def test_a_flipped_bit_is_refused(packed):
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 1
    packed.write_bytes(content)
    with pytest.raises(BundleError):
        elastiq.open(packed)


def escaping(name, content):
    yield tarfile.TarInfo(name), content
    if name == manifest.FILE:
        yield tarfile.TarInfo("../outside"), b"x"


def linked(name, content):
    info = tarfile.TarInfo(name)
    if name == "samples.npz":
        info.type, info.linkname, content = tarfile.SYMTYPE, "/etc/passwd", b""
    yield info, content


def twice(name, content):
    yield tarfile.TarInfo(name), content
    if name == "samples.npz":
        yield tarfile.TarInfo(name), content


def longer(name, content):
    yield tarfile.TarInfo(name), content + b"x" * (name == "samples.npz")


def without(name, content):
    if name != "samples.npz":
        yield tarfile.TarInfo(name), content


def headless(name, content):
    if name != manifest.FILE:
        yield tarfile.TarInfo(name), content


@pytest.mark.parametrize("change", [escaping, linked, twice, longer, without, headless])
def test_what_the_manifest_does_not_say_is_refused(packed, tmp_path, change):
    made = repacked(packed, tmp_path / "made.zst", change)
    with pytest.raises(BundleError):
        elastiq.open(made)
    assert not (tmp_path / "outside").exists()
    left = list(cache.folder().glob("*")) if cache.folder().exists() else []
    assert not left


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.zst").write_text("hello")
    with pytest.raises(BundleError, match="neither a bundle's folder nor its archive"):
        elastiq.open(tmp_path / "x.zst")


def test_bundles_nobody_used_for_long_go(packed):
    place = archive.unpacked(packed)
    os.utime(place, (1.0, 1.0))
    archive.unpacked(packed)
    assert place.stat().st_mtime > 1.0  # in use again
    old = place.with_name(f"{archive.PREFIX}old")
    old.mkdir()
    os.utime(old, (1.0, 1.0))
    shutil.rmtree(place)
    archive.unpacked(packed)
    assert not old.exists()
