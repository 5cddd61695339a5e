"""Real drivers and clients through the egress gate, against real servers: none of them knows that it is there."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import MakeSyncer
from sandbox.conftest import PROBE, run
from syncell import AccessDenied, EnvironmentBuildError, Policy, Runner

NOBODY = 65534
"""Database servers refuse to run as root; as an ordinary user they run as that."""
START_SECONDS = 60.0
"""For a database server to take its first connection, on a busy machine."""


def as_nobody(*command: str) -> list[str]:
    """The command, started as nobody when this is root."""
    if os.geteuid():
        return list(command)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of a server's own, which nobody can reach and write."""
    folder = Path("/tmp") / f"syncell-server-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir(mode=0o700)
    if not os.geteuid():
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


def programs(name: str, *folders: str) -> str:
    """Where a server's program is. `make test` installs what is missing when root runs it; nobody else can."""
    for place in (*folders, "/usr/sbin", "/usr/bin", "/usr/local/bin"):
        if Path(place, name).exists():
            return str(Path(place, name))
    missing = f"{name} is not installed; `make servers` installs it, as root"
    if os.geteuid():
        pytest.skip(missing)
    raise FileNotFoundError(missing)


@contextlib.contextmanager
def running(command: list[str], log: Path, ready: list[str]) -> Iterator[None]:
    """A server, from its first answer to `ready` until the end of the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)


@pytest.fixture
def postgres(runner: Runner, folder: Path, closed_port: int) -> Iterator[int]:
    """A PostgreSQL server on loopback; its port."""
    newest = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))[::-1]
    initdb, postgres, isready = (programs(name, *newest) for name in ("initdb", "postgres", "pg_isready"))
    data = str(folder / "data")
    subprocess.run(
        as_nobody(initdb, "-D", data, "-U", "syncell", "-A", "trust", "-E", "UTF8", "--no-sync"),
        check=True, capture_output=True, cwd="/",
    )  # fmt: skip
    command = as_nobody(postgres, "-D", data, "-p", str(closed_port), "-k", str(folder), "-c", "fsync=off")
    with running(command, folder / "log", [isready, "-h", "localhost", "-p", str(closed_port)]):
        yield closed_port


@pytest.fixture
def mariadb(runner: Runner, folder: Path, closed_port: int) -> Iterator[int]:
    """A MariaDB server on loopback; its port."""
    install, server, admin = (programs(name) for name in ("mariadb-install-db", "mariadbd", "mariadb-admin"))
    data = str(folder / "data")
    subprocess.run(
        as_nobody(install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"),
        check=True, capture_output=True, cwd="/",
    )  # fmt: skip
    command = as_nobody(
        server, "--no-defaults", f"--datadir={data}", f"--port={closed_port}", "--bind-address=127.0.0.1",
        f"--socket={folder}/socket", "--skip-grant-tables", "--skip-networking=0", "--innodb-flush-log-at-trx-commit=0",
    )  # fmt: skip
    ready = [admin, "--no-defaults", "-h", "127.0.0.1", "-P", str(closed_port), "ping"]
    with running(command, folder / "log", ready):
        yield closed_port


@contextlib.contextmanager
def serving(folder: Path, handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[tuple[int, str]]:
    """A web server over TLS: its port, and the authority that vouches for its name, `localhost`."""
    authority, key = f"{folder}/authority.pem", f"{folder}/key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", key, "-out", authority],
        check=True, capture_output=True,
    )  # fmt: skip
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1], authority
        finally:
            server.shutdown()
            thread.join()


class Hello(http.server.BaseHTTPRequestHandler):
    """Says hello to whoever asks for anything."""

    def do_GET(self) -> None:
        self.answer(b"hello")

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def https(runner: Runner, tmp_path: Path) -> Iterator[tuple[int, str]]:
    with serving(tmp_path, Hello) as served:
        yield served


def test_urllib_and_requests_over_tls(runner: Runner, make_syncer: MakeSyncer, https: tuple[int, str]) -> None:
    port, authority = https
    folder = make_syncer(PROBE, requirements=["requests"])
    code = """
        import ssl, urllib.request, requests
        url = f"https://localhost:{port}/"
        with urllib.request.urlopen(url, context=ssl.create_default_context(cafile=authority)) as answer:
            by_urllib = answer.read()
        by_requests = requests.get(url, verify=authority).content
        result = by_urllib, by_requests
    """
    policy = Policy(connect=[f"localhost:{port}"], read=[authority])
    with runner.open(folder, policy=policy) as syncer:
        assert run(syncer, code, port=port, authority=authority) == [b"hello", b"hello"]
        with pytest.raises(AccessDenied, match=r"--allow-net api\.acme\.test:PORT"):
            run(syncer, "import requests; requests.get('https://api.acme.test/')")
        with pytest.raises(AccessDenied, match=rf"--allow-net localhost:{port + 1}"):
            run(syncer, "import requests; requests.get(url)", url=f"https://localhost:{port + 1}/")


PSYCOPG = """
    import psycopg
    where = dict(host="localhost", port=port, user="syncell", dbname="postgres", connect_timeout=10)
    with psycopg.connect(**where) as connection:
        result = connection.execute("select 6 * 7").fetchone()[0]
"""
PSYCOPG_ASYNC = """
    import asyncio, psycopg
    async def ask(number):
        async with await psycopg.AsyncConnection.connect(
            host="localhost", port=port, user="syncell", dbname="postgres"
        ) as connection:
            return (await (await connection.execute("select %s::int", [number])).fetchone())[0]
    async def all():
        return await asyncio.gather(*map(ask, range(20)))
    result = asyncio.run(all()) == list(range(20))
"""


def test_psycopg(runner: Runner, make_syncer: MakeSyncer, postgres: int) -> None:
    folder = make_syncer(PROBE, requirements=["psycopg[binary]"])
    with runner.open(folder, policy=Policy(connect=[f"localhost:{postgres}"])) as syncer:
        assert run(syncer, PSYCOPG, port=postgres) == 42
        assert run(syncer, PSYCOPG_ASYNC, port=postgres) is True
        with pytest.raises(AccessDenied, match=rf"--allow-net localhost:{postgres + 1}"):
            run(syncer, PSYCOPG, port=postgres + 1)


def test_pymysql(runner: Runner, make_syncer: MakeSyncer, mariadb: int) -> None:
    folder = make_syncer(PROBE, requirements=["PyMySQL"])
    code = """
        import pymysql
        with pymysql.connect(host="localhost", port=port, user="root") as connection, connection.cursor() as cursor:
            cursor.execute("select 6 * 7")
            result = cursor.fetchone()[0]
    """
    with runner.open(folder, policy=Policy(connect=[f"localhost:{mariadb}"])) as syncer:
        assert run(syncer, code, port=mariadb) == 42
        with pytest.raises(AccessDenied, match=rf"--allow-net localhost:{mariadb + 1}"):
            run(syncer, code, port=mariadb + 1)


@pytest.mark.parametrize(
    ("driver", "code"),
    [
        ("psycopg[binary]", "import psycopg; psycopg.connect(host='127.0.0.1', port=5432, connect_timeout=10)"),
        ("psycopg[binary]", "import psycopg; psycopg.connect(host='db.acme.test', port=5432, connect_timeout=10)"),
        ("psycopg2-binary", "import psycopg2; psycopg2.connect(host='127.0.0.1', port=5432, connect_timeout=10)"),
        ("psycopg2-binary", "import psycopg2; psycopg2.connect(host='db.acme.test', port=5432, connect_timeout=10)"),
        ("PyMySQL", "import pymysql; pymysql.connect(host='127.0.0.1', user='root')"),
        ("requests", "import requests; requests.get('https://127.0.0.1/')"),
        ("requests", "import requests; requests.get('https://api.acme.test/')"),
    ],
)
def test_a_driver_that_fails_for_want_of_a_network_is_told_as_such(
    runner: Runner, make_syncer: MakeSyncer, driver: str, code: str
) -> None:
    """Whatever its own words are; libpq has none."""
    folder = make_syncer(PROBE, requirements=[driver])
    with runner.open(folder) as syncer, pytest.raises(AccessDenied) as raised:
        run(syncer, code)
    assert raised.value.flag == "--allow-net HOST:PORT"


SNOWFLAKE_ROWS = {
    "rowtype": [
        {"name": "ANSWER", "type": "fixed", "precision": 2, "scale": 0, "length": None, "nullable": False},
    ],
    "rowset": [["42"]],
    "total": 1,
    "returned": 1,
    "queryId": "01b2c3d4-0000-0000-0000-000000000000",
    "queryResultFormat": "json",
    "statementTypeId": 4096,
}
SNOWFLAKE_ANSWERS = {
    "/session/v1/login-request": {
        "token": "a", "masterToken": "b", "validityInSeconds": 3600, "masterValidityInSeconds": 14400, "sessionId": 1,
        "sessionInfo": {"databaseName": None, "schemaName": None, "warehouseName": None, "roleName": "PUBLIC"},
        "parameters": [],
    },
    "/queries/v1/query-request": {**SNOWFLAKE_ROWS, "parameters": []},
}  # fmt: skip


class Snowflake(Hello):
    """As much of Snowflake as answers a login and every query with one row; nobody can run the real one."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        data = SNOWFLAKE_ANSWERS.get(self.path.partition("?")[0], {})
        self.answer(json.dumps({"success": True, "code": None, "message": None, "data": data}).encode())


SNOWFLAKE = """
    import snowflake.connector
    where = dict(host=host, port=port, protocol="https", account="acme", user="syncell", password="secret")
    with snowflake.connector.connect(**where, login_timeout=30, network_timeout=30, **more) as connection:
        result = connection.cursor().execute("select 6 * 7").fetchone()[0]
"""


# The older generation ends after two attempts by itself.
@pytest.mark.parametrize(("generation", "more"), [("<5", {}), (">=5", {"retry_max_attempts": 2})])
def test_the_snowflake_connector(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path, generation: str, more: dict[str, int]
) -> None:
    """Written in Python until version 4, in Rust since. Both look for the cloud that they run in, and do without it."""
    folder = make_syncer(PROBE, requirements=[f"snowflake-connector-python{generation}"])
    with serving(tmp_path, Snowflake) as (port, authority):
        policy = Policy(
            connect=[f"localhost:{port}"],
            read=[authority],
            env={"REQUESTS_CA_BUNDLE": authority, "SSL_CERT_FILE": authority},
        )
        try:
            syncer = runner.open(folder, policy=policy)
        except EnvironmentBuildError as error:
            pytest.skip(f"the connector cannot be had here: {error}")
        with syncer:
            assert run(syncer, SNOWFLAKE, host="localhost", port=port, more=more) == 42
        for host, elsewhere, rule in (
            ("localhost", port + 1, f"localhost:{port + 1}"),
            ("acme.snowflakecomputing.test", 443, "acme.snowflakecomputing.test:PORT"),
        ):
            with runner.open(folder, policy=policy) as syncer, pytest.raises(AccessDenied) as raised:
                run(syncer, SNOWFLAKE, host=host, port=elsewhere, more=more)
            assert raised.value.flag == f"--allow-net {rule}"
