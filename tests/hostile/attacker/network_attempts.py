"""Sockets, of every kind, and what can be done with the pairs that are left."""

from __future__ import annotations

import os
import socket
from typing import Any

import raw

World = dict[str, Any]
TIPC, VSOCK, ALG = 30, 40, 38


def _socket(family: int, kind: int, protocol: int = 0) -> int:
    return raw.call((41, 198), family, kind, protocol)


def tcp(world: World) -> int:
    return _socket(socket.AF_INET, socket.SOCK_STREAM)


def tcp_to_a_server(world: World) -> None:
    socket.create_connection(("127.0.0.1", world["port"]), timeout=20).close()


def tcp_over_ipv6(world: World) -> int:
    return _socket(socket.AF_INET6, socket.SOCK_STREAM)


def udp(world: World) -> int:
    return _socket(socket.AF_INET, socket.SOCK_DGRAM)


def udp_over_ipv6(world: World) -> int:
    return _socket(socket.AF_INET6, socket.SOCK_DGRAM)


def multipath_tcp(world: World) -> int:
    return _socket(socket.AF_INET, socket.SOCK_STREAM, 262)


def raw_packets(world: World) -> int:
    return _socket(socket.AF_INET, socket.SOCK_RAW, 1)


def link_packets(world: World) -> int:
    return _socket(socket.AF_PACKET, socket.SOCK_RAW)


def netlink(world: World) -> int:
    return _socket(socket.AF_NETLINK, socket.SOCK_RAW)


def virtual_machines(world: World) -> int:
    return _socket(VSOCK, socket.SOCK_STREAM)


def crypto_of_the_kernel(world: World) -> int:
    return _socket(ALG, socket.SOCK_SEQPACKET)


def unix_stream(world: World) -> int:
    return _socket(socket.AF_UNIX, socket.SOCK_STREAM)


def unix_datagram(world: World) -> int:
    return _socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def unix_server_by_path(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(world["unix_path"])


def abstract_unix_server(world: World) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(world["unix_abstract"].replace("@", "\0"))


def pair_turned_to_another(world: World) -> int:
    """Either end of a pair of datagram sockets can send to any address."""
    one, _other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return one.sendto(b"hello", world["unix_datagram"])


def pair_made_a_server(world: World) -> None:
    one, _other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    path = f"{world['granted']}/bound"
    one.bind(path)
    os.unlink(path)
