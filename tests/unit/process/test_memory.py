"""Memory that goes back when it is freed."""

import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, sys
from shared.process.memory import keep_large_blocks_apart
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]
keep_large_blocks_apart()
libc.free(libc.malloc(256 << 10))
before = [libc.malloc(256 << 10) for _ in range(4)]
heap = [line.split()[0].split("-") for line in open("/proc/self/maps") if "[heap]" in line]
print(any(int(low, 16) <= each < int(high, 16) for each in before for low, high in heap))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_large_blocks_lie_apart_also_after_one_was_freed():
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
