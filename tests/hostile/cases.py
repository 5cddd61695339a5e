"""The table of attacks: what each is on, and whether an ordinary user could make it without a jail."""

from __future__ import annotations

import dataclasses

REFUSED = frozenset({"EPERM", "EACCES", "ENOSYS"})
# As by a kernel that has no such kind.
NO_SUCH_SOCKET = REFUSED | {"ESOCKTNOSUPPORT", "EPROTONOSUPPORT"}
KILLED = frozenset({"SIGSYS"})
# How Landlock answers when something would move to where it is granted more.
NOT_MOVED = REFUSED | {"EXDEV"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One attempt of the attacker's.

    `root`: without a jail only root gets anywhere with it, on some machines or all. `ends`: what a denial may be.
    """

    protection: str
    name: str
    root: bool = False
    ends: frozenset[str] = REFUSED

    def __str__(self) -> str:
        return self.name


def _cases(protection: str, names: str, *, root: bool = False, ends: frozenset[str] = REFUSED) -> list[Case]:
    return [Case(protection, name, root, ends) for name in names.split()]


CASES = [
    *_cases(
        "files",
        "read_outside list_outside write_outside append_outside truncate_outside create_outside make_folder_outside "
        "remove_outside symbolic_link_to_outside dots_to_outside "
        "descriptor_to_outside path_descriptor_opened_again working_folder_outside openat2_outside "
        "root_link_to_outside race_to_outside chmod_outside chmod_outside_by_number chmod_of_a_path_descriptor "
        "utime_outside utime_outside_by_number chown_outside attribute_outside watch_outside handle_of_outside "
        "plant_in_environment plant_in_kit plant_in_cache plant_in_own_code write_bytecode_of_own_code "
        "read_environment_of_host read_environment_of_neighbour read_command_of_neighbour read_maps_of_neighbour "
        "list_descriptors_of_host open_descriptor_of_neighbour files_through_root_of_neighbour "
        "files_through_folder_of_neighbour read_sockets_of_the_machine read_mounts_of_the_machine",
    ),
    *_cases("files", "rename_from_outside rename_to_outside link_to_outside", ends=NOT_MOVED),
    *_cases("files", "read_memory_of_neighbour open_by_handle", root=True),
    *_cases(
        "processes",
        "signal_host signal_neighbour signal_group_of_neighbour signal_thread_of_neighbour queue_signal_to_neighbour "
        "pidfd_of_neighbour descriptor_from_neighbour signal_by_pidfd let_oneself_be_traced read_memory_by_call "
        "write_memory_by_call advise_memory limits_of_host priority_of_neighbour priority_of_all_of_the_user "
        "processors_of_neighbour scheduler_of_neighbour scheduling_of_neighbour disk_priority_of_neighbour "
        "leave_session leave_group become_child_of_the_parent hide_memory_from_the_watch",
    ),
    *_cases(
        "processes",
        "trace_neighbour compare_with_neighbour move_memory_of_neighbour locks_of_neighbour let_anyone_trace",
        root=True,
    ),
    *_cases(
        "kernel surface",
        "clone3 join_namespace another_filter another_filter_by_prctl trap_own_calls addresses_that_are_not_random "
        "type_into_terminal shared_memory message_queue semaphores named_message_queue adjust_time request_key "
        "key_control add_key",
    ),
    *_cases(
        "kernel surface",
        "io_uring bpf perf_events userfaultfd user_namespace user_namespace_by_clone network_namespace_by_clone mount "
        "unmount pivot_root chroot open_file_system open_tree restart_machine load_kernel load_module swap accounting "
        "kernel_log set_time set_host_name ports segments",
        root=True,
    ),
    Case("kernel surface", "x32_entry", ends=KILLED),
    Case("kernel surface", "entry_of_32_bit", ends=KILLED),
    *_cases("privileges", "give_up_identity make_device read_what_others_keep_from_all capabilities", root=True),
    *_cases(
        "programs",
        "program spawned_program written_program program_in_memory program_in_memory_by_link program_by_descriptor "
        "program_by_call program_by_loader own_interpreter",
    ),
    *_cases(
        "network",
        "tcp tcp_to_a_server tcp_over_ipv6 unix_stream unix_server_by_path abstract_unix_server pair_made_a_server",
    ),
    *_cases(
        "network",
        "udp udp_over_ipv6 multipath_tcp netlink virtual_machines crypto_of_the_kernel unix_datagram "
        "pair_turned_to_another",
        ends=NO_SUCH_SOCKET,
    ),
    *_cases("network", "raw_packets link_packets", root=True, ends=NO_SUCH_SOCKET),
]

# Kinds of entry, call or socket that another architecture or a smaller kernel does not have at all.
MAY_BE_MISSING = {
    "x32_entry", "entry_of_32_bit", "ports", "segments", "virtual_machines", "crypto_of_the_kernel", "multipath_tcp",
    "load_module", "load_kernel", "accounting", "swap", "named_message_queue", "userfaultfd", "compare_with_neighbour",
    "io_uring", "attribute_outside", "move_memory_of_neighbour",
}  # fmt: skip

ORDINARY = (
    "threads", "event_loop", "pairs_of_sockets", "children", "signals_to_children", "copies_of_files",
    "links_left_alone", "database", "own_priority",
)  # fmt: skip
