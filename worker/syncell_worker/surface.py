"""What a cell may not ask of the kernel, as rules for the filter. Every entry says what it is refused for.

The list names what harms others or widens the kernel's surface; what any program needs is not on it. The error chosen
for each makes libraries do the right thing: ENOSYS where they fall back (io_uring, clone3, pidfds), EACCES where a
person should be told, EPERM else. A kind of socket that no policy allows is answered as by a kernel that lacks it, so
that it is told from one that a policy would. Files are Landlock's; here is only what Landlock leaves out.

Network is one of `NETWORKS`: `none` (no socket can be made, socket pairs apart), `gate` (stream sockets, whose
connections are the egress gate's to decide: it adds a filter of its own before this one, and where filters disagree the
kernel takes the stricter verdict), `open` (what an installer of packages needs). Behind the gate a stream socket is all
that there is, and nothing but `connect` can say where what it sends goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from errno import EACCES, ENOPROTOOPT, ENOSYS, EOPNOTSUPP, EPERM, EPROTONOSUPPORT, ESOCKTNOSUPPORT
from typing import Optional

from syncell_worker.seccomp import Case, Rule, argument, null

NETWORKS = ("none", "gate", "open")

# Refused whatever the arguments, by what they would be used for.
_ALWAYS: tuple[tuple[int, str], ...] = (
    # Wide surfaces of the kernel that no syncer needs; libraries do without where they are missing. A ring of io_uring
    # would make calls that no filter sees.
    (ENOSYS, "io_uring_setup io_uring_enter io_uring_register clone3 userfaultfd memfd_secret"),
    (EPERM, "bpf perf_event_open keyctl add_key request_key modify_ldt iopl ioperm uselib nfsservctl _sysctl"),
    # A second filter could trap or fake calls of programs that trust their kernel.
    (EPERM, "seccomp lsm_set_self_attr"),
    # Other worlds: mounts and namespaces.
    (EPERM, "mount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick"),
    (EPERM, "mount_setattr unshare setns statmount listmount"),
    # Other processes. There is no pidfd but of one's own children, and nothing that takes one.
    (EPERM, "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp get_robust_list"),
    (EPERM, "move_pages migrate_pages pidfd_getfd pidfd_send_signal"),
    (ENOSYS, "pidfd_open"),
    # The machine itself.
    (EPERM, "kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct quotactl"),
    (EPERM, "quotactl_fd syslog settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname vhangup"),
    # Around the path: files by handle, and the names of others' files as they change, in folders that cannot be listed.
    (EPERM, "name_to_handle_at open_by_handle_at fanotify_init"),
    (EACCES, "inotify_add_watch"),
    # What Landlock does not know of: owners and attributes, of files that were never granted.
    (EPERM, "chown lchown fchown fchownat setxattr lsetxattr fsetxattr removexattr lremovexattr fremovexattr"),
    (EPERM, "setxattrat removexattrat file_setattr"),
    # Memory and messages shared with the whole machine, which outlive whoever made them.
    (EPERM, "shmget shmat shmctl msgget msgsnd msgrcv msgctl semget semop semtimedop semctl mq_open mq_unlink"),
)

# Namespaces (CLONE_NEW*), and a child that becomes a sibling: the host's own child (CLONE_PARENT).
_CLONE_FLAGS = (1 << 17, 1 << 25, 1 << 26, 1 << 27, 1 << 28, 1 << 29, 1 << 30, 1 << 15)
# SECCOMP; DUMPABLE, which would hide the memory from the host's watch; MM; SYSCALL_USER_DISPATCH; PTRACER.
_PRCTL_OPTIONS = (22, 4, 35, 59, 0x59616D61)
# TIOCSTI and TIOCLINUX type into a terminal as its user would.
_IOCTLS = (0x5412, 0x541C)
_MFD_NOEXEC_SEAL = 0x8
_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16  # families; `socket` itself is long to import
_STREAM, _DGRAM, _SEQPACKET = 1, 2, 5
_WITHOUT_FLAGS = 0xF  # of a socket's type, which SOCK_NONBLOCK and SOCK_CLOEXEC share a word with
_ANY_PROTOCOL, _TCP = 0, 6
_MSG_FASTOPEN = 0x20000000

# The kinds of socket that there are: family, and type or None for any.
_STREAMS: tuple[tuple[int, Optional[int]], ...] = ((_INET, _STREAM), (_INET6, _STREAM), (_UNIX, _STREAM))
_OPEN: tuple[tuple[int, Optional[int]], ...] = (
    *((_INET, _STREAM), (_INET6, _STREAM), (_INET, _DGRAM), (_INET6, _DGRAM), (_UNIX, None)),
    (_NETLINK, None),  # how the C library learns which addresses the machine has
)
# Level and name of options that lead packets elsewhere than to the address that was connected to.
_SOCKET_OPTIONS = (
    (0, 4),  # IP_OPTIONS: source routes
    (41, 5), (41, 6), (41, 54), (41, 55), (41, 57), (41, 59),  # IPv6 extension headers: routing and others
    (1, 25), (1, 62),  # SO_BINDTODEVICE, SO_BINDTOIFINDEX
    (6, 23), (6, 30),  # TCP_FASTOPEN, TCP_FASTOPEN_CONNECT
)  # fmt: skip


def rules(pid: int, *, network: str, programs: bool, signals_scoped: bool, modes: bool) -> Iterator[Rule]:
    """The rules of one process, whose id is `pid`.

    `programs`: whether it may start any. `signals_scoped`: whether Landlock keeps its signals inside already.
    `modes`: whether it may change modes and times of files by their path, of any file of its user that is.
    """
    for error, calls in _ALWAYS:
        for call in calls.split():
            yield Rule(call, error)
    yield Rule("clone", EPERM, when=tuple((argument(0, flag, flag),) for flag in _CLONE_FLAGS))
    yield Rule("prctl", EPERM, when=_any(0, *_PRCTL_OPTIONS))
    yield Rule("ioctl", EPERM, when=_any(1, *_IOCTLS))
    yield Rule("personality", EPERM, unless=_any(0, 0, 0xFFFFFFFF))  # the default, and the question which it is
    yield from _others(pid)
    if not signals_scoped:
        yield from _signals(pid)
    yield from _programs(programs)
    yield from _sockets(network)
    if not modes:
        yield from _modes()


def _any(index: int, *values: int) -> tuple[Case, ...]:
    return tuple((argument(index, value),) for value in values)


def _others(pid: int) -> Iterator[Rule]:
    """Limits, priority and processors of other processes: only one's own, by 0 or by name."""
    own = _any(0, 0, pid)
    for call in ("prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"):
        yield Rule(call, EPERM, unless=own)
    for call, kind in (("setpriority", _PRIO_PROCESS), ("ioprio_set", _IOPRIO_WHO_PROCESS)):
        yield Rule(call, EPERM, unless=tuple((argument(0, kind), argument(1, who)) for who in (0, pid)))


def _signals(pid: int) -> Iterator[Rule]:
    """Where Landlock does not scope signals: to oneself and one's group only, and to no child by its id."""
    yield Rule("kill", EPERM, unless=_any(0, 0, pid, -pid & 0xFFFFFFFF))
    for call in ("tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):
        yield Rule(call, EPERM, unless=_any(0, pid))
    yield Rule("tkill", EPERM)


def _programs(allowed: bool) -> Iterator[Rule]:
    """Starting programs; and leaving the process group, with which all that a cell started is ended."""
    if not allowed:
        yield Rule("execve", EACCES)
        yield Rule("execveat", EACCES)
        yield Rule("setsid", EPERM)
        yield Rule("setpgid", EPERM)
        return
    # By path, which Landlock looks at: never what is only in memory, or whatever a descriptor stands for.
    yield Rule("execveat", EACCES)
    yield Rule("memfd_create", ENOSYS, unless=((argument(1, _MFD_NOEXEC_SEAL, _MFD_NOEXEC_SEAL),),))
    # Shells and build tools give up when these fail, and never look at what they did.
    yield Rule("setsid", 0)
    yield Rule("setpgid", 0)


def _sockets(network: str) -> Iterator[Rule]:
    def kind(family: int, type_: Optional[int]) -> Case:
        return (argument(0, family),) if type_ is None else (argument(0, family), argument(1, type_, _WITHOUT_FLAGS))

    kinds = _OPEN if network == "open" else _STREAMS
    yield Rule("socket", ESOCKTNOSUPPORT, unless=tuple(kind(*each) for each in kinds))
    if network == "open":
        return
    # Over the stream's own protocol: MPTCP and SCTP connect to more addresses than the one that is seen.
    yield Rule("socket", EPROTONOSUPPORT, unless=((argument(0, _UNIX),), *_any(2, _ANY_PROTOCOL, _TCP)))
    # A pair of datagram sockets could be pointed at any other address; a pair of streams is connected for good.
    yield Rule("socketpair", ESOCKTNOSUPPORT, unless=(kind(_UNIX, _STREAM), kind(_UNIX, _SEQPACKET)))
    if network == "none":
        for call in ("socket", "connect", "bind", "listen", "accept", "accept4"):
            yield Rule(call, EACCES)
        return
    # The kernel's own answer where fast-open is switched off, upon which clients connect as usual.
    for call, flags in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        yield Rule(call, EOPNOTSUPP, when=((argument(flags, _MSG_FASTOPEN, _MSG_FASTOPEN),),))
    yield Rule("sendto", EACCES, unless=(null(4),))
    options = tuple((argument(1, level), argument(2, name)) for level, name in _SOCKET_OPTIONS)
    yield Rule("setsockopt", ENOPROTOOPT, when=options)


def _modes() -> Iterator[Rule]:
    """Modes and times by path, which Landlock does not look at; through a descriptor, which it let open, they go on."""
    for call in ("chmod", "fchmodat", "fchmodat2", "utime", "utimes", "futimesat"):
        yield Rule(call, EPERM)
    yield Rule("utimensat", EPERM, unless=(null(1),))
