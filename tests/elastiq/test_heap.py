"""The heap: what was taken and given back goes to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

GIVE_BACK = """
import ctypes
from elastiq import heap
from elastiq.footprint import _pss

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.memset.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
libc.free.argtypes = (ctypes.c_void_p,)
places = [libc.malloc(4096) for _ in range(20_000)]  # too small to be mapped one by one
for place in places:
    libc.memset(place, 1, 4096)
for place in places[:-1]:  # the last keeps the top of the heap where it is
    libc.free(place)
before = _pss()
heap.trim()
print(before - _pss())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's heap")
def test_free_memory_goes_back():
    done = subprocess.run(
        [sys.executable, "-c", GIVE_BACK], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 50e6
