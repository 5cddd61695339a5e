"""Parts of the kernel that no syncer needs. Calls that would do harm are made so that they cannot succeed."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from typing import Any

import raw

World = dict[str, Any]


def io_uring(world: World) -> str:
    return raw.reach((425, 425), 1, None)


def bpf(world: World) -> str:
    return raw.reach((321, 280), 9999, None, 0)


def perf_events(world: World) -> str:
    return raw.reach((298, 241), None, 0, -1, -1, 0)


def add_key(world: World) -> str:
    return raw.reach((248, 217), None, None, None, 0, 0)


def request_key(world: World) -> str:
    return raw.reach((249, 218), None, None, None, 0)


def key_control(world: World) -> str:
    return raw.reach((250, 219), 9999, 0, 0, 0, 0)


def userfaultfd(world: World) -> str:
    return raw.reach((323, 282), 0x7FFF0000)


def user_namespace(world: World) -> int:
    return raw.call((272, 97), 0x10000000)


def user_namespace_by_clone(world: World) -> str:
    pid = raw.call((56, 220), 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made"


def network_namespace_by_clone(world: World) -> str:
    pid = raw.call((56, 220), 0x40000000 | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "made"


def clone3(world: World) -> str:
    return raw.reach((435, 435), None, 0)


def join_namespace(world: World) -> str:
    return raw.reach((308, 268), -1, 0)


def mount(world: World) -> str:
    return raw.reach((165, 40), ctypes.c_char_p(b"none"), ctypes.c_char_p(b"/nowhere"), None, 0, None)


def unmount(world: World) -> str:
    return raw.reach((166, 39), ctypes.c_char_p(b"/nowhere"), 0)


def pivot_root(world: World) -> str:
    return raw.reach((155, 41), ctypes.c_char_p(b"/nowhere"), ctypes.c_char_p(b"/nowhere"))


def chroot(world: World) -> str:
    return raw.reach((161, 51), ctypes.c_char_p(b"/nowhere"))


def open_file_system(world: World) -> str:
    return raw.reach((430, 430), ctypes.c_char_p(b"no such file system"), 0)


def open_tree(world: World) -> str:
    return raw.reach((428, 428), -100, ctypes.c_char_p(b"/nowhere"), 0)


def another_filter(world: World) -> str:
    get_action_available, errno_action = 2, ctypes.c_uint32(0x50000)
    return raw.reach((317, 277), get_action_available, 0, ctypes.byref(errno_action))


def another_filter_by_prctl(world: World) -> str:
    return raw.reach((157, 167), 22, 2, None, 0, 0)


def trap_own_calls(world: World) -> str:
    return raw.reach((157, 167), 59, 9999, 0, 0, 0)


def addresses_that_are_not_random(world: World) -> int:
    return raw.call((135, 92), 0x0040000)


def type_into_terminal(world: World) -> str:
    return raw.reach((16, 29), os.open("/dev/null", os.O_RDONLY), 0x5412, ctypes.c_char_p(b"x"))


def shared_memory(world: World) -> str:
    made = raw.call((29, 194), 0, 4096, 0o600)
    raw.call((31, 195), made, 0, None)
    return "made"


def message_queue(world: World) -> str:
    made = raw.call((68, 186), 0, 0o600)
    raw.call((71, 187), made, 0, None)
    return "made"


def semaphores(world: World) -> str:
    made = raw.call((64, 190), 0, 1, 0o600)
    raw.call((66, 191), made, 0, 0)
    return "made"


def named_message_queue(world: World) -> str:
    return raw.reach((240, 180), None, 0, 0, None)


def restart_machine(world: World) -> str:
    return raw.reach((169, 142), 0, 0, 0, None)


def load_kernel(world: World) -> str:
    return raw.reach((246, 104), 0, 9999, None, 0xFFFF)


def load_module(world: World) -> str:
    return raw.reach((175, 105), None, 0, None)


def swap(world: World) -> str:
    return raw.reach((167, 224), ctypes.c_char_p(b"/nowhere"), 0)


def accounting(world: World) -> str:
    return raw.reach((163, 89), ctypes.c_char_p(b"/nowhere"))


def kernel_log(world: World) -> int:
    return raw.call((103, 116), 10, None, 0)


def set_time(world: World) -> str:
    return raw.reach((227, 112), 0, None)


def adjust_time(world: World) -> str:
    return raw.reach((159, 171), None)


def set_host_name(world: World) -> str:
    return raw.reach((170, 161), None, 1 << 20)


def ports(world: World) -> str:
    return raw.reach((172, None), 9999)


def segments(world: World) -> str:
    return raw.reach((154, None), 0, None, 0)


def open_by_handle(world: World) -> str:
    return raw.reach((304, 265), -1, None, 0)


def x32_entry(world: World) -> str:
    """getpid as x32 would ask for it. A kernel without x32 says that it has no such call, and nothing more."""
    raw.libc.syscall(ctypes.c_long(0x40000000 + 39))
    return "survived"


def entry_of_32_bit(world: World) -> int:
    """getpid by `int 0x80`, whose numbers are others."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20; int 0x80; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(address)())


def call_of_a_later_kernel(world: World) -> str:
    raw.libc.syscall(ctypes.c_long(470))
    raise OSError(ctypes.get_errno(), "")


def give_up_identity(world: World) -> str:
    """What root could do to act in another user's name."""
    os.setgroups([])
    os.setuid(65534)
    return "became another"


def make_device(world: World) -> None:
    path = f"{world['granted']}/device"
    os.mknod(path, 0o020600, os.makedev(1, 3))
    os.unlink(path)


def read_what_others_keep_from_all(world: World) -> bytes:
    """A file of another user's, with no rights for anybody, in a folder that is granted."""
    fd = os.open(f"{world['granted']}/others", os.O_RDONLY)
    return os.read(fd, 100)


def capabilities(world: World) -> int:
    data = ctypes.create_string_buffer(24)
    raw.libc.capget(ctypes.c_char_p(b"\x22\x05\x08\x20\0\0\0\0"), data)
    if not any(data.raw):
        raise PermissionError(1, "none held")
    return int.from_bytes(data.raw, "little")
