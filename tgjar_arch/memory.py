"""Memory that training on a CPU frees and wants again: kept by the process instead of going back to the system.

The C library (glibc) gives an array of 32 MB or more back to the system as soon as it is freed, and the system hands
out the next one page by page, each filled with zeros. In a training step, whose arrays come and go in the same sizes,
that can cost as much time as the convolutions. Kept memory changes no result.
"""

import ctypes
import os

# Parameters of mallopt, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEEP = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}  # -1: never
# Where glibc's own thresholds arrive after the first large array was freed.
_RELEASE = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}


def keep_freed_memory(keep: bool = True) -> bool:
    """Let the process keep the memory that it frees, or give it back as usual.

    Args:
        keep: False gives back what is free now, and from then on what becomes free, as glibc does by itself.

    Returns:
        Whether the C library takes the setting: glibc does. Elsewhere nothing is done.
    """
    if os.name != 'posix':
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, 'gnu_get_libc_version') and hasattr(libc, 'mallopt')):
        return False
    taken = 0 not in [libc.mallopt(*setting) for setting in (_KEEP if keep else _RELEASE).items()]
    if not keep:
        libc.malloc_trim(0)
    return taken
