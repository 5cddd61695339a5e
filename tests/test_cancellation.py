"""What is cancelled from another thread ends soon, and what it was done with can be used again or is gone."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from conftest import ECHO, MakeSyncer, loading
from syncell import Cancellation, Cancelled, Policy, Runner

HANG = "import time; time.sleep(600)"


@pytest.fixture
def stop() -> Cancellation:
    return Cancellation()


def _cancel_after(rows: int, stream: Iterable[list[dict[str, int]]], stop: Cancellation) -> None:
    for batch in stream:
        if batch[-1]["n"] >= rows:
            stop.cancel()


def _cancel_once(written: Path, stop: Cancellation) -> threading.Thread:
    """Cancel when a syncer opens the other end of a pipe."""

    def cancel() -> None:
        written.read_text()
        stop.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    return thread


def test_a_load_is_cancelled_between_batches_and_its_syncer_goes_on(
    stop: Cancellation, runner: Runner, make_syncer: MakeSyncer
) -> None:
    body = "import itertools\nreturn ({'n': n} for n in itertools.count())"
    with runner.open(make_syncer(loading(body))) as acme:
        stream = acme.stream("orders")
        with stop.scope(), pytest.raises(Cancelled, match="acme: the call was cancelled"):
            _cancel_after(5_000, stream, stop)
        assert acme.load("alive") == [{"alive": True}]


def test_a_load_that_hangs_is_cancelled_and_its_cell_is_ended(
    stop: Cancellation, runner: Runner, make_syncer: MakeSyncer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("syncell.syncer.CANCEL_SECONDS", 0.2)
    started = tmp_path / "started"
    os.mkfifo(started)
    body = f"open(identifier, 'w').close()\n{HANG}"
    with runner.open(make_syncer(loading(body)), policy=Policy(write=[started])) as acme:
        thread = _cancel_once(started, stop)
        with stop.scope(), pytest.raises(Cancelled):
            acme.load(str(started))
        thread.join()
        assert not acme.cell.alive


def test_an_opening_is_cancelled_while_its_module_is_imported(
    stop: Cancellation, runner: Runner, make_syncer: MakeSyncer, tmp_path: Path
) -> None:
    started = tmp_path / "started"
    os.mkfifo(started)
    folder = make_syncer(f"open({str(started)!r}, 'w').close()\n{HANG}")
    thread = _cancel_once(started, stop)
    with stop.scope(), pytest.raises(Cancelled):
        runner.open(folder, policy=Policy(write=[started]))
    thread.join()


def test_a_build_is_cancelled_and_leaves_nothing_that_counts_as_built(
    stop: Cancellation, runner: Runner, make_syncer: MakeSyncer, tmp_path: Path, cache_dir: Path
) -> None:
    folder = make_syncer(ECHO, requirements=["iniconfig==2.0.0"])
    own = Runner(state_dir=tmp_path / "own", cache_dir=tmp_path / "cache")
    with own, stop.scope(), pytest.raises(Cancelled, match="environment was cancelled"):
        own.open(folder, progress=lambda _: stop.cancel())
    assert own.environments.list() == ()


def test_what_was_cancelled_before_is_not_begun(stop: Cancellation, runner: Runner, make_syncer: MakeSyncer) -> None:
    stop.cancel()
    with stop.scope(), pytest.raises(Cancelled):
        runner.open(make_syncer(ECHO))
    assert runner.open(make_syncer(ECHO, name="other")).load("x") == [{"identifier": "x"}]


def test_an_outer_cancellation_holds_in_an_inner_scope(
    stop: Cancellation, runner: Runner, make_syncer: MakeSyncer
) -> None:
    with runner.open(make_syncer(ECHO)) as acme:
        stop.cancel()
        with stop.scope(), Cancellation().scope(), pytest.raises(Cancelled):
            acme.load("x")
