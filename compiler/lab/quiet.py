"""Dask, loaded so that it neither prints into a progress display nor disturbs what is measured."""

from __future__ import annotations

import logging
import os
import warnings
from types import ModuleType

from elastiq.errors import missing

# Read by Dask when it is imported, in this process and in those that it starts.
SETTINGS = {
    # A worker whose lab ends just when its heart beats would tell of that in a traceback.
    "DASK_DISTRIBUTED__LOGGING": "{'distributed': 'error', 'distributed.worker': 'critical'}",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "DASK_DISTRIBUTED__NANNY__PRE_SPAWN_ENVIRON": "{}",  # which would set numbers of threads
    "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False",
}


def distributed() -> ModuleType:
    """The package, or what to install."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import distributed
    except ImportError as e:
        raise missing("distributed", "lab") from e
    for name in ("distributed.client", "distributed.core", "distributed.comm"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="distributed")
    return distributed
