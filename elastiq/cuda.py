"""The little of NVIDIA's driver that running a plan needs, with nothing but what it installs."""

from __future__ import annotations

import ctypes
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from elastiq.errors import EngineError

LIBRARY = "libcuda.so.1"
MAJOR, MINOR = 75, 76  # of the compute capability, among a device's attributes
WORDS = ctypes.c_char_p


class Driver:
    """The first GPU, in the context that all libraries share."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as e:
            raise EngineError(f"no NVIDIA driver is installed here: {e}") from e
        self._call("cuInit", 0)
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)

    @cached_property
    def _context(self) -> ctypes.c_void_p:
        """Made when it is first needed: it takes memory of the GPU."""
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        return context

    def enter(self) -> None:
        """Make the context that of this thread, as all that follows takes for granted."""
        self._call("cuCtxSetCurrent", self._context)

    @property
    def capability(self) -> str:
        """SM89, for example."""
        found = []
        for which in (MAJOR, MINOR):
            value = ctypes.c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(value), which, self._device)
            found.append(value.value)
        return f"SM{found[0]}{found[1]}"

    def stream(self) -> int:
        self.enter()
        made = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(made), 0)
        return made.value or 0

    def allocate(self, size: int) -> int:
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        return address.value

    def free(self, address: int) -> None:
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, address: int, array: np.ndarray, stream: int) -> None:
        size = ctypes.c_size_t(array.nbytes)
        where = ctypes.c_uint64(address)
        self._call(
            "cuMemcpyHtoDAsync_v2",
            where,
            array.ctypes.data_as(ctypes.c_void_p),
            size,
            ctypes.c_void_p(stream),
        )

    def download(self, array: np.ndarray, address: int, stream: int) -> None:
        size = ctypes.c_size_t(array.nbytes)
        where = ctypes.c_uint64(address)
        self._call(
            "cuMemcpyDtoHAsync_v2",
            array.ctypes.data_as(ctypes.c_void_p),
            where,
            size,
            ctypes.c_void_p(stream),
        )

    def end(self, stream: int) -> None:
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def wait(self, stream: int) -> None:
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            words = WORDS()
            self._library.cuGetErrorString(code, ctypes.byref(words))
            said = (words.value or b"").decode()
            raise EngineError(f"NVIDIA's driver refuses {name}: {said or f'error {code}'}")


def available() -> bool:
    """Whether there is a GPU, and a driver that works."""
    try:
        driver()
    except EngineError:
        return False
    return True


@lru_cache(maxsize=1)
def driver() -> Driver:
    """The driver, whose context lives as long as the process."""
    return Driver()
