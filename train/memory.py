"""How the process deals with the memory it has been given."""

import ctypes
import platform

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # as glibc's malloc.h numbers them
_KEPT = 2**31 - 1  # bytes


def keep_memory() -> None:
    """Have glibc keep what is freed: each step needs again what the one before it gave back.

    Else every large tensor is fresh memory, which the system fills with zeros first. All threads take from one heap:
    what one of them reads ahead is freed by another, and would be kept where that one never looks. Elsewhere nothing
    changes. Source: mallopt(3).
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, _KEPT // 2)
        libc.mallopt(_TRIM_THRESHOLD, _KEPT)
        libc.mallopt(_ARENA_MAX, 1)
