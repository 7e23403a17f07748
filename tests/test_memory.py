"""Freed memory of the process: kept, or given back to the system."""

import sys
from pathlib import Path

import pytest

from tgjar_arch.memory import keep_freed_memory

BLOCKS, SIZE = 3, 2**25  # 96 MB in pieces that the C library gives back one by one


def resident() -> int:
    """Bytes of the process in memory."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_memory_is_kept_and_given_back():
    if not keep_freed_memory(False):
        pytest.skip('the C library is not glibc')
    try:
        before = resident()
        for keep, least, most in ((False, -1, 0.2), (True, 0.9, 1.5), (False, -1, 0.2)):
            assert keep_freed_memory(keep)
            blocks = [bytearray(b'x' * SIZE) for _ in range(BLOCKS)]
            assert resident() - before > 0.9 * BLOCKS * SIZE
            del blocks
            assert least < (resident() - before) / (BLOCKS * SIZE) < most, keep
    finally:
        keep_freed_memory(False)
