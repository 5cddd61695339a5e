"""Syncers in a tenant's name: within its policy and quotas, with its secrets, and nobody else's."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from conftest import ECHO, MakeSyncer, loading
from syncell import (
    AccessDenied,
    Limits,
    Policy,
    PolicyExceeded,
    QuotaExceeded,
    Runner,
    SpecError,
    SyncerError,
    TenantDefinition,
)

TELLING = """
    class Acme:
        name = "acme"

        def __init__(self, token: str = ""):
            self.token = token

        def load(self, identifier):
            return [{"token": self.token}]

        def dump(self, identifier, *, data):
            pass
"""


def test_a_tenant_opens_and_copies_within_its_policy(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/orders.csv").write_text("a\n1\n2\n")
    acme = runner.tenant("acme", policy=Policy(read=[tmp_path], write=[tmp_path]))
    report = acme.copy(f"csv://directory={tmp_path}/in#orders", f"json://directory={tmp_path}/out/#orders")
    assert report.rows == 2
    with acme.open(f"csv://directory={tmp_path}/in") as orders:
        assert orders.load("orders") == [{"a": "1"}, {"a": "2"}]
        assert orders.policy == acme.policy


def test_what_a_policy_asks_beyond_the_ceiling_is_refused_before_anything_starts(
    runner: Runner, make_syncer: MakeSyncer, tmp_path: Path
) -> None:
    limits = Limits(memory="64MiB")
    acme = runner.tenant("acme", policy=Policy(connect=["*.acme.com:443"], limits=limits))
    more = Policy(read=[tmp_path], connect=["evil.com:443"], subprocess=True, sandbox="off")
    with pytest.raises(PolicyExceeded) as caught:
        acme.open(make_syncer(ECHO, requirements=["no-such-distribution-at-all"]), policy=more)
    said = str(caught.value)
    for thing in (str(tmp_path), "evil.com:443", "subprocess", "sandbox", "memory"):
        assert thing in said


def test_an_option_grants_a_tenant_nothing_beyond_its_ceiling(runner: Runner, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "orders.csv").write_text("a\n1\n")
    (inside / "link").symlink_to(outside)
    acme = runner.tenant("acme", policy=Policy(read=[inside], write=[inside]))
    for beyond in (outside, inside / "link", inside / ".." / "outside"):
        with pytest.raises(PolicyExceeded, match=str(outside)):
            acme.open("csv", {"directory": beyond})
    assert acme.open("csv", {"directory": inside}).load("orders") == [{"a": "1"}]
    (refused,) = acme.explain("csv", {"directory": outside}).refused
    assert isinstance(refused, PolicyExceeded)


def test_an_option_within_what_may_be_read_only_grants_no_more(runner: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "orders.csv").write_text("a\n1\n")
    acme = runner.tenant("acme", policy=Policy(read=[folder]))
    with acme.open(f"csv://directory={folder}") as orders:
        assert orders.load("orders") == [{"a": "1"}]
        with pytest.raises(AccessDenied, match=r"Policy\(write="):
            orders.dump("orders", data=[{"a": "2"}])
    assert (folder / "orders.csv").read_text() == "a\n1\n"


def test_a_tenant_without_a_policy_has_the_runners(cache_dir: Path, state_dir: Path, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(ECHO)
    with Runner(state_dir=state_dir, cache_dir=cache_dir, policy=Policy(limits=Limits(wall_seconds=60))) as runner:
        acme = runner.tenant("acme")
        assert acme.open(folder).policy.limits.wall_seconds == 60
        with pytest.raises(PolicyExceeded, match="wall_seconds"):
            acme.open(folder, policy=Policy())


def test_no_more_cells_than_a_tenants_quota_are_open_and_one_that_closes_makes_room(
    runner: Runner, make_syncer: MakeSyncer
) -> None:
    folder = make_syncer(ECHO)
    acme, other = runner.tenant("acme", max_cells=2), runner.tenant("other", max_cells=1)
    first, second = acme.open(folder), acme.open(folder)
    with pytest.raises(QuotaExceeded, match=r"tenant acme: max_cells=2 .* close a syncer of it"):
        acme.open(folder)
    other.open(folder)  # another's quota is another's
    runner.open(folder)
    first.close()
    first.close()  # which makes room only once
    third = acme.open(folder)
    with pytest.raises(QuotaExceeded):
        acme.open(folder)
    second.close()
    third.close()


def test_what_fails_to_open_or_crashes_keeps_no_room(runner: Runner, make_syncer: MakeSyncer) -> None:
    acme = runner.tenant("acme", max_cells=1)
    broken = make_syncer("1 / 0", name="broken")
    for _ in range(3):
        with pytest.raises(SyncerError, match="ZeroDivisionError"):
            acme.open(broken)
    with acme.open(make_syncer(loading("os._exit(1)"))) as crashing, pytest.raises(Exception, match="exited"):
        crashing.load("orders")
    acme.open(make_syncer(ECHO, name="echo"))


def test_many_threads_never_have_more_cells_than_the_quota(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(ECHO)
    acme = runner.tenant("acme", max_cells=1)
    barrier, opened, refused = threading.Barrier(6), [], []

    def open_one() -> None:
        barrier.wait()
        try:
            opened.append(acme.open(folder))
        except QuotaExceeded as error:
            refused.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(opened), len(refused)) == (1, 5)


def test_the_memory_of_all_cells_of_a_tenant_is_bounded(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(ECHO)
    acme = runner.tenant("acme", memory="300MiB", policy=Policy(limits=Limits(memory="200MiB")))
    acme.open(folder)
    with pytest.raises(QuotaExceeded, match="memory"):
        acme.open(folder)
    acme.open(folder, policy=Policy(limits=Limits(memory="100MiB")))
    with pytest.raises(QuotaExceeded, match=r"without Limits\(memory=\.\.\.\)"):
        runner.tenant("other", memory="300MiB").open(folder)


def test_secrets_are_a_tenants_own(runner: Runner, make_syncer: MakeSyncer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTS_TOKEN", "hosts")
    folder = make_syncer(TELLING)
    acme = runner.tenant("acme", secrets={"TOKEN": "${env:HOSTS_TOKEN}-acme"})
    other = runner.tenant("other", secrets={"TOKEN": "others"})
    given = {"token": "${secret:TOKEN}"}
    assert acme.open(folder, given).load("x") == [{"token": "hosts-acme"}]
    assert other.open(folder, given).load("x") == [{"token": "others"}]
    with pytest.raises(SpecError, match="HOSTS_TOKEN") as caught:
        acme.open(folder, {"token": "${env:HOSTS_TOKEN}"})
    assert "hosts" not in str(caught.value).replace("HOSTS_TOKEN", "")


def test_a_definition_that_changes_holds_for_what_is_opened_from_then_on(
    runner: Runner, make_syncer: MakeSyncer
) -> None:
    folder = make_syncer(ECHO)
    acme = runner.tenant(TenantDefinition("acme", max_cells=1))
    acme.open(folder)
    assert runner.tenant(TenantDefinition("acme", max_cells=2)) is acme
    acme.open(folder)
    with pytest.raises(QuotaExceeded):
        acme.open(folder)
    with pytest.raises(TypeError, match="not both"):
        runner.tenant(TenantDefinition("acme"), max_cells=1)
