"""Ways to other processes: the host's, and a neighbour's of the same user."""

from __future__ import annotations

import ctypes
import os
import pathlib
import resource
import signal
from typing import Any

import raw

World = dict[str, Any]


def read_environment_of_host(world: World) -> int:
    return len(pathlib.Path(f"/proc/{world['host']}/environ").read_bytes())


def read_environment_of_neighbour(world: World) -> int:
    return len(pathlib.Path(f"/proc/{world['neighbour']}/environ").read_bytes())


def read_command_of_neighbour(world: World) -> bytes:
    return pathlib.Path(f"/proc/{world['neighbour']}/cmdline").read_bytes()


def read_maps_of_neighbour(world: World) -> int:
    return len(pathlib.Path(f"/proc/{world['neighbour']}/maps").read_bytes())


def read_memory_of_neighbour(world: World) -> None:
    os.close(os.open(f"/proc/{world['neighbour']}/mem", os.O_RDWR))


def list_descriptors_of_host(world: World) -> int:
    return len(os.listdir(f"/proc/{world['host']}/fd"))


def open_descriptor_of_neighbour(world: World) -> None:
    os.close(os.open(f"/proc/{world['neighbour']}/fd/0", os.O_RDONLY))


def files_through_root_of_neighbour(world: World) -> str:
    return pathlib.Path(f"/proc/{world['neighbour']}/root{world['outside']}/secret").read_text()


def files_through_folder_of_neighbour(world: World) -> list[str]:
    return os.listdir(f"/proc/{world['neighbour']}/cwd/")


def read_sockets_of_the_machine(world: World) -> int:
    return len(pathlib.Path("/proc/self/net/unix").read_bytes())


def read_mounts_of_the_machine(world: World) -> int:
    return len(pathlib.Path(f"/proc/{os.getppid()}/mountinfo").read_bytes())


def signal_host(world: World) -> None:
    os.kill(world["host"], 0)


def signal_neighbour(world: World) -> None:
    os.kill(world["neighbour"], 0)


def signal_group_of_neighbour(world: World) -> None:
    os.killpg(world["neighbour"], 0)


def signal_thread_of_neighbour(world: World) -> int:
    return raw.call((234, 131), world["neighbour"], world["neighbour"], 0)


def queue_signal_to_neighbour(world: World) -> int:
    information = ctypes.create_string_buffer(128)
    ctypes.c_int.from_buffer(information, 8).value = -1  # SI_QUEUE
    return raw.call((129, 138), world["neighbour"], 0, information)


def pidfd_of_neighbour(world: World) -> None:
    fd = raw.call((434, 434), world["neighbour"], 0)
    signal.pidfd_send_signal(fd, 0)


def descriptor_from_neighbour(world: World) -> str:
    return raw.reach((438, 438), -1, 0, 0)


def signal_by_pidfd(world: World) -> str:
    return raw.reach((424, 424), -1, 0, None, 0)


def trace_neighbour(world: World) -> int:
    seize, interrupt_and_detach = 0x4206, 17
    raw.call((101, 117), seize, world["neighbour"], None, None)
    raw.libc.ptrace(interrupt_and_detach, world["neighbour"], None, None)
    return 0


def let_oneself_be_traced(world: World) -> int:
    return raw.call((101, 117), 0, 0, None, None)


def read_memory_by_call(world: World) -> str:
    return raw.reach((310, 270), world["neighbour"], None, 0, None, 0, 0)


def write_memory_by_call(world: World) -> str:
    return raw.reach((311, 271), world["neighbour"], None, 0, None, 0, 0)


def advise_memory(world: World) -> str:
    return raw.reach((440, 440), -1, None, 0, 0, 0)


def compare_with_neighbour(world: World) -> int:
    return raw.call((312, 272), os.getpid(), world["neighbour"], 2, 0, 0)


def move_memory_of_neighbour(world: World) -> str:
    return raw.reach((279, 239), world["neighbour"], 0, None, None, None, 0)


def locks_of_neighbour(world: World) -> int:
    head, length = ctypes.c_void_p(), ctypes.c_size_t()
    return raw.call((274, 100), world["neighbour"], ctypes.byref(head), ctypes.byref(length))


def limits_of_host(world: World) -> None:
    resource.prlimit(world["host"], resource.RLIMIT_NOFILE, resource.prlimit(world["host"], resource.RLIMIT_NOFILE))


def priority_of_neighbour(world: World) -> None:
    os.setpriority(os.PRIO_PROCESS, world["neighbour"], os.getpriority(os.PRIO_PROCESS, world["neighbour"]))


def priority_of_all_of_the_user(world: World) -> None:
    """By an id that no user has."""
    raw.reach((141, 140), os.PRIO_USER, 3_999_999_999, 0)


def processors_of_neighbour(world: World) -> None:
    os.sched_setaffinity(world["neighbour"], os.sched_getaffinity(world["neighbour"]))


def scheduler_of_neighbour(world: World) -> None:
    os.sched_setscheduler(world["neighbour"], os.SCHED_OTHER, os.sched_param(0))


def scheduling_of_neighbour(world: World) -> str:
    return raw.reach((314, 274), world["neighbour"], None, 0)


def disk_priority_of_neighbour(world: World) -> int:
    best_effort = 2 << 13 | 4
    return raw.call((251, 30), 1, world["neighbour"], best_effort)


def leave_session(world: World) -> None:
    os.setsid()


def leave_group(world: World) -> None:
    os.setpgid(0, 0)


def become_child_of_the_parent(world: World) -> str:
    """A child that the parent would have to reap: with the worker as the maker, the host's."""
    clone_parent = 0x8000
    pid = raw.call((56, 220), clone_parent | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return "made"


def hide_memory_from_the_watch(world: World) -> int:
    return raw.call((157, 167), 4, 0, 0, 0, 0)


def let_anyone_trace(world: World) -> str:
    set_ptracer, any_process = 0x59616D61, -1
    return raw.reach((157, 167), set_ptracer, any_process, 0, 0, 0)
