"""A ceiling holds whatever a tenant writes: nothing beyond it is allowed, and everything within it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncell import Limits, Policy, PolicyExceeded
from syncell.manifest import Manifest
from syncell.sandbox import ceiling, grants

paths = st.sampled_from(["/", "/srv", "/srv/a", "/srv/a/b", "/srv/ab", "/data/", "/srv/a/../c"])
places = st.sampled_from(
    [
        *("*:443", "*.acme.com:443", "api.acme.com:443", "api.acme.com:1-500", "localhost:443", "unix:/run/x"),
        *("0.0.0.0/0:*", "10.0.0.0/8:443", "10.1.2.3:443", "127.0.0.1:443", "169.254.169.254:80", "[::1]:443"),
    ]
)
names = st.sampled_from(["A", "B", "PATH"])
amounts = st.none() | st.integers(1, 5)
limits = st.builds(
    Limits,
    **dict.fromkeys(("memory", "cpu_seconds", "processes", "disk", "rows", "row_bytes", "log"), amounts),
    wall_seconds=st.floats(0.5, 5),
    open_files=st.integers(1, 5),
)
policies = st.builds(
    Policy,
    read=st.lists(paths, max_size=3),
    write=st.lists(paths, max_size=3),
    connect=st.lists(places, max_size=3),
    env=st.dictionaries(names, names, max_size=2),
    indexes=st.lists(st.sampled_from(["https://a/", "https://a", "/wheels"]), max_size=2),
    source_builds=st.booleans(),
    subprocess=st.booleans(),
    limits=limits,
    sandbox=st.sampled_from(["required", "best-effort", "off"]),
)


OUTSIDE = " lies outside of what is allowed to "


def wheres(policy: Policy, most: Policy) -> list[str]:
    return [problem.where for problem in ceiling.excess(policy, most)]


@given(policies)
def test_a_policy_lies_within_itself(policy: Policy) -> None:
    assert ceiling.excess(policy, policy) == []


@given(policies, policies, policies)
def test_what_lies_within_what_lies_within_a_ceiling_lies_within_it(
    inner: Policy, middle: Policy, most: Policy
) -> None:
    if not ceiling.excess(inner, middle) and not ceiling.excess(middle, most):
        assert ceiling.excess(inner, most) == []


@given(policies, policies)
def test_each_thing_that_is_added_to_a_ceiling_leaves_no_more_problems(policy: Policy, most: Policy) -> None:
    wider = Policy(
        read=[*most.read, *policy.read],
        write=most.write,
        connect=[*most.connect, *policy.connect],
        env=policy.env,
        indexes=[*most.indexes, *policy.indexes],
        source_builds=True,
        subprocess=True,
        limits=Limits(wall_seconds=10, processes=None, open_files=10, disk=None, log=None),
        sandbox="off",
    )
    left = set(wheres(policy, wider))
    assert left <= set(wheres(policy, most))
    assert left <= {"policy.write"}


@given(policies, policies)
def test_a_policy_beyond_a_ceiling_is_so_in_something_that_it_has(policy: Policy, most: Policy) -> None:
    nothing = Policy(limits=dataclasses.replace(most.limits))
    assert ceiling.excess(nothing, most) == []
    if ceiling.excess(policy, most):
        assert policy != nothing


@given(policies, policies)
def test_what_is_within_a_ceiling_reaches_no_file_beyond_it(policy: Policy, most: Policy) -> None:
    if not ceiling.excess(policy, most):
        ours, theirs = grants.Grants(read=policy.read), grants.Grants(read=most.read)
        for path in ("/", "/srv/a/b/c", "/srv/ab", "/data/x", "/srv/c", "/etc"):
            assert theirs.covers("read", path) or not ours.covers("read", path)


@pytest.mark.parametrize(
    ("policy", "most", "expected"),
    [
        (
            Policy(read=["/srv/ab"]),
            Policy(read=["/srv/a"]),
            "policy.read: /srv/ab" + OUTSIDE + "read: /srv/a",
        ),
        (
            Policy(read=["/srv"]),
            Policy(read=["/srv/a", "/b"]),
            "policy.read: /srv" + OUTSIDE + "read: /srv/a, /b",
        ),
        (
            Policy(write=["/srv"]),
            Policy(read=["/srv"]),
            "policy.write: /srv" + OUTSIDE + "write: nothing",
        ),
        (
            Policy(connect=["*.com:443"]),
            Policy(connect=["*.acme.com:443"]),
            "policy.connect: *.com:443 lies outside of what is allowed to connect to: *.acme.com:443",
        ),
        (
            Policy(connect=["169.254.169.254:80"]),
            Policy(connect=["0.0.0.0/0:80"]),
            "policy.connect: 169.254.169.254:80 lies outside of what is allowed to connect to: 0.0.0.0/0:80",
        ),
        (
            Policy(env={"TOKEN": "hunter2"}),
            Policy(env={"TOKEN": "other"}),
            "policy.env: TOKEN with this value is not among the variables that are allowed",
        ),
        (
            Policy(indexes=["https://me:hunter2@x/"]),
            Policy(),
            "policy.indexes[0]: is none of the indexes that are allowed",
        ),
        (Policy(source_builds=True), Policy(), "policy.source_builds: True, where only False is allowed"),
        (Policy(subprocess=True), Policy(), "policy.subprocess: True, where only False is allowed"),
        (
            Policy(sandbox="off"),
            Policy(sandbox="best-effort"),
            'policy.sandbox: "off", where no less than "best-effort" is allowed',
        ),
        (
            Policy(limits=Limits(memory="2GiB")),
            Policy(limits=Limits(memory="1GiB")),
            "policy.limits.memory: 2,147,483,648, where 1,073,741,824 is the most that is allowed",
        ),
        (
            Policy(limits=Limits(processes=None)),
            Policy(),
            "policy.limits.processes: no limit, where 512 is the most that is allowed",
        ),
    ],
)
def test_an_excess_says_what_and_how_much_is_allowed_and_quotes_no_secret(
    policy: Policy, most: Policy, expected: str
) -> None:
    assert [str(problem) for problem in ceiling.excess(policy, most)] == [expected]


def test_every_limit_that_is_stricter_than_the_default_policys_is_reported() -> None:
    strict = Limits(1, 1, 1, 1, 1, 1, 1, 1, 1)
    assert wheres(Policy(), Policy(limits=strict)) == [f"policy.limits.{it.name}" for it in dataclasses.fields(Limits)]


def test_links_are_followed_before_paths_are_compared(tmp_path: Path) -> None:
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "own/out").symlink_to(tmp_path / "other")
    (tmp_path / "in").symlink_to(tmp_path / "own")
    most = Policy(read=[tmp_path / "in"])
    assert ceiling.excess(Policy(read=[tmp_path / "own/x"]), most) == []
    assert wheres(Policy(read=[tmp_path / "own/out"]), most) == ["policy.read"]


def test_an_open_without_a_policy_has_the_ceilings() -> None:
    most, less = Policy(read=["/srv"]), Policy(read=["/srv/a"])
    assert ceiling.under(None, most, tenant="acme") is most
    assert ceiling.under(less, most, tenant="acme") is less


def test_the_error_names_the_tenant_every_excess_and_whom_to_ask() -> None:
    with pytest.raises(PolicyExceeded) as caught:
        ceiling.under(Policy(read=["/etc"], subprocess=True), Policy(), tenant="acme")
    assert caught.value.tenant == "acme"
    assert [problem.where for problem in caught.value.problems] == ["policy.read", "policy.subprocess"]
    assert "tenant acme" in str(caught.value)
    assert "whoever operates this host" in str(caught.value)


def test_what_options_grant_must_lie_within_the_ceiling_too(tmp_path: Path) -> None:
    manifest = Manifest(
        name="acme",
        syncer_class="Acme",
        permissions={"read": ["{folder}"], "connect": ["{host}:{port}"]},  # type: ignore[arg-type]
    )
    options = {"folder": str(tmp_path), "host": "db.acme.com", "port": 5432, "out": tmp_path / "x.db"}
    drawing = grants.draw("acme", manifest, options, Policy(), protected=())
    assert drawing.refused == ()
    assert ceiling.beyond(drawing.granted, Policy(read=["/"], write=["/"], connect=["*.acme.com:5432"])) == []
    problems = ceiling.beyond(drawing.granted, Policy(read=[tmp_path / "x.db"], connect=["db.acme.com:443"]))
    assert [problem.where for problem in problems] == [
        "option {folder}, which the manifest asks to read",
        "option {out}, passed as a Path: a database, which needs files beside it",
        "option {out}, passed as a Path",
        "option {out}, passed as a Path: a database, which needs files beside it",
        "option {host}:{port}, which the manifest asks to connect to",
    ]
    assert str(problems[-1]).endswith(
        ": db.acme.com:5432 lies outside of what is allowed to connect to: db.acme.com:443"
    )
