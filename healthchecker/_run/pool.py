"""The threads on which asyncio programs probe: probers are synchronous."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

MAX_THREADS = 512
"""How many probes of one process can hang at the same time before further ones queue."""


@cache
def pool() -> ThreadPoolExecutor:
    """Return the pool of this process. Its threads start when needed, and stay."""
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="healthchecker")


os.register_at_fork(after_in_child=pool.cache_clear)  # the threads stay behind
