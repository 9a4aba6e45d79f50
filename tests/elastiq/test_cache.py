"""What a device keeps for itself: whole, or made again; never a reason to fail."""

from __future__ import annotations

import os

import pytest

from elastiq import cache

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 5000])
def test_what_is_kept_is_found(content):
    cache.keep("name", content)
    assert cache.find("name").tobytes() == content


def test_what_was_never_kept_is_not_found():
    assert cache.find("name") is None


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_a_damaged_file_is_as_good_as_none(damage):
    cache.keep("name", b"content")
    path = cache.folder() / "name"
    sealed = bytearray(path.read_bytes())
    sealed[2] ^= 1
    path.write_bytes(sealed if damage is None else damage)
    assert cache.find("name") is None


def test_only_its_owner_may_read_it():
    cache.keep("name", b"content")
    assert cache.folder().stat().st_mode & 0o077 == 0


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ELASTIQ_CACHE", str(tmp_path / "file" / "cache"))
    cache.keep("name", b"content")
    assert cache.find("name") is None


def test_what_was_not_used_for_longest_goes_first():
    for age, name in enumerate(("new", "used", "old")):
        cache.keep(name, bytes(1000))
        path = cache.folder() / name
        os.utime(path, (1000.0 - age, 1000.0 - age))
    cache.find("used")
    cache.trim(limit=1500)
    assert [path.name for path in cache.folder().iterdir()] == ["used"]


def test_drafts_that_nobody_finished_go(tmp_path):
    cache.keep("name", b"content")
    draft = cache.folder() / f"{cache.DRAFT}1"
    draft.mkdir()
    cache.trim()
    assert draft.exists()
    os.utime(draft, (1000.0, 1000.0))
    cache.trim()
    assert not draft.exists()
    assert cache.find("name") is not None


def test_what_is_let_go_of_is_read_again():
    content = bytes(range(256)) * 4096
    cache.keep("large", content)
    found = cache.find("large")
    cache.let_go(found)
    assert found.tobytes() == content


def test_a_file_that_was_just_written_is_read_from_the_disk_again(monkeypatch):
    asked, content = [], bytes(5000)
    monkeypatch.setattr(os, "posix_fadvise", lambda *how: asked.append(how[1:]), raising=False)
    cache.keep("a", content)
    cache.let_reread("a")
    assert asked == [(0, 0, os.POSIX_FADV_DONTNEED)]
    cache.let_reread("was never kept")
    monkeypatch.delattr(os, "posix_fadvise")  # as on macOS
    cache.let_reread("a")
    assert cache.find("a").tobytes() == content
