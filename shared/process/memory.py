"""What of a process's memory goes back when it is freed, and how often it is looked for what can be."""

import contextlib
import ctypes
import gc
from typing import Final

_MMAP_THRESHOLD: Final = -3  # mallopt(3)
_LARGE: Final = 128 << 10  # bytes; glibc's own, at first
OF_A_COMMAND: Final = 1_000_000  # objects


def keep_large_blocks_apart() -> None:
    """Have large blocks lie apart for as long as the process lives, with glibc; elsewhere nothing happens.

    uvloop has 256 KB for what comes in on each connection with TLS, of which only as much is resident as was filled. As
    soon as one is freed, glibc puts blocks of that size among small ones: in memory that was used, that stays resident,
    and that other blocks keep from going back.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)


def collect_seldom(objects: int = 50_000) -> None:
    """Have the garbage collector pass by what is there by now, and look less often for what came since.

    Only what refers to itself waits for it, which is little: it took 2 to 4 % of the processor time of a worker. It
    looks whenever so many `objects` are there more; a command that reads a large file, and ends, has more of them.
    """
    gc.freeze()
    gc.set_threshold(objects, 20, 100)
