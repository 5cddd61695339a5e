"""Where a cell may connect to: the rules of the egress gate, as data and pure functions.

A rule is one text: `db.acme.com:5432`, `*.acme.com:443`, `10.0.0.0/8:5432`, `[2001:db8::1]:443`, `unix:/run/x.sock`. A
name allows what it resolves to at the time, and an address allows that address. What must not be broken: a name never
leads to a **local** address — loopback, link-local, a cloud's metadata service — since whoever owns the name's DNS
could point it there; only `localhost`, which means loopback, and rules that name the address itself do. No I/O in here.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
from collections.abc import Collection, Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DNS_PORT = 53
_PORTS = range(1, 65536)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# What the C library may read as an address in one of its older notations: 127.1, 0x7f000001.
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_EXPECTED = "expected host:port, as in db.acme.com:5432, *.acme.com:443, 10.0.0.0/8:5432, [::1]:443, or unix:/path"
# The ports that an address in an option leaves out.
_PORT_OF_SCHEME = {
    "http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21, "ssh": 22, "sftp": 22, "redis": 6379,
    "postgresql": 5432, "postgres": 5432, "mysql": 3306, "mariadb": 3306, "mongodb": 27017, "mssql": 1433,
    "oracle": 1521, "clickhouse": 8123,
}  # fmt: skip

# This host, this link, groups of hosts, and where clouds serve metadata and secrets to whoever asks from a machine.
_LOCAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
        "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
        "::/128", "::1/128", "fe80::/10", "ff00::/8", "fd00:ec2::254/128", "fd20:ce::254/128",
    )
)  # fmt: skip
# IPv6 addresses that stand for IPv4 ones, and how far to the right those are: translated, tunnelled, compatible.
_EMBEDDING = tuple(
    (ipaddress.IPv6Network(text), shift) for text, shift in (("64:ff9b::/96", 0), ("2002::/16", 80), ("::/96", 0))
)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One allowed place. Exactly one of `name`, `network` and `socket` is set; `text` is its canonical form."""

    text: str
    ports: range = _PORTS
    name: str = ""
    network: Network | None = None
    socket: str = ""

    def names(self, name: str) -> bool:
        """Whether this rule is about this canonical name. `*.acme.com` is about all names below `acme.com`."""
        if self.name.startswith("*"):
            return name.endswith(self.name[1:])
        return self.name == name


def parse(text: str) -> Rule:
    """The rule that a policy or a person writes. Raises ValueError."""
    if text.startswith("unix:"):
        return _socket(text)
    host, ports_text = _split(text)
    ports = _ports(ports_text, text)
    shown = "*" if ports == _PORTS else f"{ports[0]}" if len(ports) == 1 else f"{ports[0]}-{ports[-1]}"
    network = _network(host)
    if network is None:
        name = canonical(host)
        return Rule(f"{name}:{shown}", ports, name=name)
    written = str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)
    return Rule(f"[{written}]:{shown}" if network.version == 6 else f"{written}:{shown}", ports, network=network)


def parse_option(text: str) -> Rule:
    """The rule that follows from an option: one host and one port, or a URL. Nothing in it is a wildcard.

    Raises ValueError. The values of options may be secrets, so they are not quoted.
    """
    address = re.fullmatch(
        r"([a-z][a-z0-9]*)(?:\+[a-z0-9_]+)?://(?:[^/?#]*@)?([^/?#]*).*", text, re.IGNORECASE | re.DOTALL
    )
    if address is not None:
        host, scheme = address[2], address[1].lower()
        text = host if re.search(r":\d+$", host) else f"{host}:{_PORT_OF_SCHEME.get(scheme, '')}"
    if text.startswith("/"):
        text = f"unix:{text}"
    try:
        rule = parse(text)
    except ValueError:
        raise ValueError("expected one host and its port, or the address of one, to connect to") from None
    if rule.name.startswith("*") or (len(rule.ports) != 1 and not rule.socket) or _is_block(rule.network):
        raise ValueError("expected one host and one port to connect to, without wildcards")
    return rule


def canonical(name: str) -> str:
    """A host name in lower case, in ASCII, without the dot at its end; `*` may stand for its first labels.

    Raises ValueError.
    """
    plain = name.strip().rstrip(".").lower()
    if not plain.isascii():
        try:
            plain = plain.encode("idna").decode()
        except UnicodeError:
            raise ValueError(f"not a host name: {name!r}") from None
    labels = plain.removeprefix("*.").split(".") if plain != "*" else []
    if len(plain) > 253 or not all(map(_LABEL.fullmatch, labels)) or (labels and _NUMBER.fullmatch(labels[-1])):
        raise ValueError(f"not a host name or an address: {name!r}; {_EXPECTED}")
    return plain


def unmapped(address: Address) -> Address:
    """An IPv4-mapped IPv6 address as the IPv4 address that it reaches; others as they are."""
    return getattr(address, "ipv4_mapped", None) or address


def is_local(address: Address) -> bool:
    """Whether an address means this machine, its link, or a service that answers to whoever is on it."""
    if any(address in network for network in _LOCAL if network.version == address.version):
        return True
    if isinstance(address, ipaddress.IPv6Address):
        for network, shift in _EMBEDDING:
            if address in network:
                return is_local(ipaddress.IPv4Address(int(address) >> shift & 0xFFFFFFFF))
    return False


def is_localhost(name: str) -> bool:
    """Whether a canonical name is one of loopback's (RFC 6761)."""
    return name == "localhost" or name.endswith(".localhost")


def shown(host: Address | str, port: int) -> str:
    """`host:port` as a rule has it."""
    return f"[{host}]:{port}" if isinstance(host, ipaddress.IPv6Address) else f"{host}:{port}"


@dataclasses.dataclass(frozen=True)
class Egress:
    """The rules of one cell. Names are canonical, addresses unmapped."""

    rules: tuple[Rule, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Egress:
        """The rules in these texts. Raises ValueError."""
        return cls(tuple(parse(text) for text in texts))

    def covers(self, rule: Rule) -> bool:
        """Whether all that `rule` allows is allowed here, by one rule: what a manifest asks for is met by a policy."""
        return any(_covers(ours, rule) for ours in self.rules)

    def answers(self, name: str) -> bool:
        """Whether a cell may ask for the addresses of a name."""
        return any(rule.names(name) for rule in self.rules if rule.name)

    def permits(self, name: str, port: int) -> bool:
        """Whether some rule is about this name and port; not every address that it leads to may be allowed."""
        return any(rule.names(name) for rule in self.rules if rule.name and port in rule.ports)

    def allows(self, address: Address, port: int, names: Collection[str]) -> bool:
        """Whether a cell may connect to an address, to which these names resolve."""
        return any(_allows(rule, address, names) for rule in self.rules if port in rule.ports)

    def candidates(self, port: int) -> list[str]:
        """The names that may be connected to at this port and that can be looked up, having no wildcard."""
        return [rule.name for rule in self.rules if rule.name and rule.name[0] != "*" and port in rule.ports]

    def is_resolver(self, address: Address, port: int, names: Collection[str]) -> bool:
        """Whether a connection is a question for the gate's own resolver: DNS, unless a rule names that very port."""
        written = Egress(tuple(rule for rule in self.rules if rule.ports == range(DNS_PORT, DNS_PORT + 1)))
        return port == DNS_PORT and not written.allows(address, port, names)

    def socket(self, path: str) -> bool:
        """Whether a cell may connect to a unix socket: an absolute path, or `@` and an abstract name."""
        return any(rule.socket == path for rule in self.rules if rule.socket)


def _allows(rule: Rule, address: Address, names: Collection[str]) -> bool:
    if rule.network is not None:
        network = rule.network
        if network.version != address.version or address not in network:
            return False
        # A wide network is no way to say that one wants this machine's own services.
        return not _is_block(network) or not is_local(address) or _within_local(network)
    if is_local(address):
        return address.is_loopback and any(is_localhost(name) and rule.names(name) for name in names)
    return rule.name == "*" or any(map(rule.names, names))


def _covers(ours: Rule, asked: Rule) -> bool:
    if asked.socket or ours.socket:
        return ours.socket == asked.socket
    if asked.ports[0] not in ours.ports or asked.ports[-1] not in ours.ports:
        return False
    if asked.network is not None:
        network, held = asked.network, ours.network
        if held is None:
            return ours.name == "*" and not _is_block(network) and not is_local(network.network_address)
        # As a wide network does not mean this machine's own services, it does not cover a rule that does.
        narrow = not _is_block(held) or _within_local(held) or not _means_local(network)
        return narrow and network.version == held.version and network.subnet_of(held)  # type: ignore[arg-type]
    return bool(ours.name) and (ours.name == asked.name or ours.names(asked.name.removeprefix("*")))


def _is_block(network: Network | None) -> bool:
    return network is not None and network.prefixlen != network.max_prefixlen


def _means_local(network: Network) -> bool:
    return _within_local(network) if _is_block(network) else is_local(network.network_address)


def _within_local(network: Network) -> bool:
    return any(network.subnet_of(local) for local in _LOCAL if local.version == network.version)  # type: ignore[arg-type]


def _socket(text: str) -> Rule:
    path = text.removeprefix("unix:")
    if not path.startswith(("/", "@")) or len(path) < 2 or "\0" in path:
        raise ValueError(f"not a unix socket: {text!r}; expected unix:/path, or unix:@name for an abstract one")
    path = path if path.startswith("@") else os.path.normpath(path)
    return Rule(f"unix:{path}", socket=path)


def _split(text: str) -> tuple[str, str]:
    matched = re.fullmatch(r"\[([^\[\]]+)\]:([^:]*)|([^\[\]:]+):([^:]*)", text.strip())
    if matched is None:
        raise ValueError(f"not a place to connect to: {text!r}; {_EXPECTED}")
    if matched[1] is not None and ":" not in matched[1]:
        raise ValueError(f"not a place to connect to: {text!r}; brackets are for IPv6 addresses")
    return matched[1] or matched[3], matched[2] if matched[1] else matched[4]


def _ports(ports: str, text: str) -> range:
    if ports == "*":
        return _PORTS
    matched = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", ports)
    if matched is not None:
        found = range(int(matched[1]), int(matched[2] or matched[1]) + 1)
        if found and found[0] in _PORTS and found[-1] in _PORTS:
            return found
    raise ValueError(
        f"not a place to connect to: {text!r}; a port is a number of 1 to 65535, a range 1-9, or * for any"
    )


def _network(host: str) -> Network | None:
    try:
        network = ipaddress.ip_network(host)
    except ValueError as error:
        if ":" in host or "/" in host:
            raise ValueError(f"not a network: {host!r}: {error}") from None
        return None
    if isinstance(network, ipaddress.IPv6Network):
        if network.network_address.scope_id is not None:
            raise ValueError(f"not a network: {host!r}: without the zone after %")
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network
