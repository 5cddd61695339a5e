"""Give up every capability, as root too, and every way to gain one again.

Root without capabilities is an ordinary user whose files happen to be root's: it may not read what others keep from
it, bind low ports, mount, trace or load anything. Standard library only. Source: capabilities(7).
"""

from __future__ import annotations

import ctypes
import struct

_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT = 23, 24, 28, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
# NOROOT (an exec by root gains nothing), KEEP_CAPS and NO_CAP_AMBIENT_RAISE, each locked.
_SECUREBITS = 1 << 0 | 1 << 1 | 1 << 5 | 1 << 6 | 1 << 7
_VERSION_3 = 0x20080522
_NONE = bytes(24)  # effective, permitted and inheritable, each 64 bit in two halves

_libc = ctypes.CDLL(None, use_errno=True)


def drop() -> bool:
    """Drop all capabilities of the calling thread, for good; whether none is left.

    Needs `no_new_privs`: where there was no right to empty the bounding set either, nothing can be gained from it then.
    """
    capability = 0
    while _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:  # until the first that this kernel does not know
        _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
        capability += 1
    _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    _libc.prctl(_PR_SET_SECUREBITS, _SECUREBITS, 0, 0, 0)
    header = struct.pack("=Ii", _VERSION_3, 0)
    _libc.capset(header, _NONE)
    held = ctypes.create_string_buffer(len(_NONE))
    return _libc.capget(header, held) == 0 and held.raw == _NONE
