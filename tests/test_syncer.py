"""A sandboxed syncer is still a syncer; and whatever it does wrong, its host gets an error and goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import ECHO, MakeSyncer, loading
from syncell import (
    CellUnusable,
    DataError,
    ManifestError,
    OptionsError,
    ProtocolError,
    Runner,
    SpecError,
    SyncerError,
)


def test_a_syncer_is_named_loaded_and_dumped_as_if_it_were_imported(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            def __init__(self, region, port: int = 1):
                self.name = "acme in " + region
                self.port = port
                self.kept = []

            def load(self, table):
                return [{"table": table, "port": self.port, "kept": self.kept}]

            def dump(self, table, *, data):
                assert type(data) is list and type(data[0]) is dict, data
                self.kept = [list(data[0].keys()), len(data)]
        """
    )
    with runner.open(folder, {"region": "north", "port": "8080"}) as acme:
        assert acme.name == "acme in north"
        assert acme.load("orders") == [{"table": "orders", "port": 8080, "kept": []}]
        acme.dump("orders", data=[{"b": 1, "a": 2}] * 2500)
        assert acme.load("orders")[0]["kept"] == [["b", "a"], 2500]


def test_an_empty_list_is_passed_on_to_dump(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"
            seen = None

            def load(self, table):
                return [{"seen": self.seen}]

            def dump(self, table, *, data):
                self.seen = data
        """
    )
    with runner.open(folder) as acme:
        acme.dump("orders", data=[])
        assert acme.load("orders") == [{"seen": []}]


def test_a_stream_holds_few_rows_and_can_be_left_half_way(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"
            closed = False

            def load(self, identifier):
                if identifier == "closed":
                    return [{"closed": self.closed}]
                return self.endless()

            def endless(self):
                number = 0
                try:
                    while True:
                        yield {"number": number, "filler": "x" * 100}
                        number += 1
                finally:
                    self.closed = True

            def dump(self, identifier, *, data):
                pass
        """
    )
    with runner.open(folder) as acme:
        stream = acme.stream("numbers")
        first = next(stream)
        assert [row["number"] for row in first] == list(range(len(first)))
        assert 0 < len(first) <= 1000
        stream.close()
        assert acme.load("closed") == [{"closed": True}]


def test_rows_before_a_generator_raises_are_delivered_then_the_error(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(loading("yield {'n': 1}\nyield {'n': 2}\nraise KeyError('gone')"))
    with runner.open(folder) as acme:
        stream = acme.stream("orders")
        assert next(stream) == [{"n": 1}, {"n": 2}]
        with pytest.raises(SyncerError, match="KeyError: 'gone'"):
            next(stream)
        assert acme.load("alive") is not None


def test_dump_takes_any_iterable_and_batches_bound_its_memory(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load(self, identifier):
                return [{"sizes": self.sizes}]

            def dump(self, identifier, *, data):
                raise AssertionError("batches were offered")

            def dump_batches(self, identifier, *, batches):
                self.sizes = [len(batch) for batch in batches]
        """
    )
    with runner.open(folder) as acme:
        acme.dump("orders", data=({"n": n} for n in range(2500)))
        assert acme.load("sizes") == [{"sizes": [1000, 1000, 500]}]


def test_rows_that_the_syncer_left_unread_are_an_error(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load(self, identifier): ...
            def dump(self, identifier, *, data): ...
            def dump_batches(self, identifier, *, batches):
                next(batches)
        """
    )
    with runner.open(folder) as acme, pytest.raises(SyncerError, match="after 1000 of 5000 rows"):
        acme.dump("orders", data=[{"n": n} for n in range(5000)])


def test_an_identifier_has_to_be_text_that_can_be_sent(runner: Runner, make_syncer: MakeSyncer) -> None:
    with runner.open(make_syncer(ECHO)) as acme:
        with pytest.raises(SpecError, match="UTF-8"):
            acme.load("\ud800")
        with pytest.raises(TypeError, match="not int"):
            acme.load(1)  # type: ignore[arg-type]
        assert acme.load("x") == [{"identifier": "x"}]


def test_a_worker_that_miscounts_what_it_loads_is_noticed(runner: Runner, make_syncer: MakeSyncer) -> None:
    # Only a forged worker can: here the syncer rewrites the worker's own module.
    lying = (
        ECHO
        + """
    import sys
    serve = sys.modules["syncell_worker.serve"]
    honest = serve.Cell._load
    serve.Cell._load = lambda self, call, identifier: honest(self, call, identifier) + 1
"""
    )
    with runner.open(make_syncer(lying)) as acme, pytest.raises(ProtocolError, match="sent 2 rows, and 1 arrived"):
        acme.load("x")


def test_an_error_of_the_data_cancels_the_dump_and_the_syncer_lives_on(runner: Runner, make_syncer: MakeSyncer) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"n": n} for n in range(5000))
        raise ZeroDivisionError

    with runner.open(make_syncer(ECHO)) as acme:
        with pytest.raises(ZeroDivisionError):
            acme.dump("orders", data=rows())
        with pytest.raises(DataError, match=r"column 'n', row 1.*complex"):
            acme.dump("orders", data=[{"n": 1}, {"n": 1j}])
        with pytest.raises(DataError, match="row 0 is not a mapping"):
            acme.dump("orders", data=["text"])  # type: ignore[list-item]
        assert acme.load("x") == [{"identifier": "x"}]


def test_a_dump_that_fails_early_stops_the_rows_that_follow(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class Acme:
            name = "acme"

            def load(self, identifier):
                return [{"alive": True}]

            def dump(self, identifier, *, data): ...

            def dump_batches(self, identifier, *, batches):
                next(batches)
                raise ConnectionError("the server went away")
        """
    )
    with runner.open(folder) as acme:
        with pytest.raises(SyncerError, match="the server went away"):
            acme.dump("orders", data=({"n": n, "filler": "x" * 500} for n in range(100_000)))
        assert acme.load("x") == [{"alive": True}]


# What is wrong with a syncer's class or module.


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("class Acne: ...", ManifestError, "no class Acme; did you mean Acne?"),
        ("class Acme:\n    name = 'a'\n    def load(self, t): ...", ManifestError, "class Acme has no dump"),
        ("class Acme:\n    def load(self, t): ...\n    def dump(self, t): ...", ManifestError, "has no name"),
        ("class Acme(:", SyncerError, "SyntaxError"),
        ("import not_installed_anywhere", SyncerError, "No module named 'not_installed_anywhere'"),
        ("raise SystemExit(3)", SyncerError, "SystemExit: 3"),
    ],
)
def test_a_module_or_class_that_is_no_syncer_is_told(
    runner: Runner, make_syncer: MakeSyncer, source: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        runner.open(make_syncer(source))
    assert message in str(caught.value)


def test_a_missing_module_names_the_requirement_to_add(runner: Runner, make_syncer: MakeSyncer) -> None:
    with pytest.raises(SyncerError, match="requirements"):
        runner.open(make_syncer("import not_installed_anywhere"))


def test_refused_options_are_told_all_at_once_and_never_quoted(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        import dataclasses

        @dataclasses.dataclass
        class Acme:
            token: str
            port: int
            region: str = "north"
            name: str = "acme"

            def load(self, t): ...
            def dump(self, t, *, data): ...
        """
    )
    with pytest.raises(OptionsError) as caught:
        runner.open(folder, {"port": "s3cret", "regoin": "s3cret"})
    assert {problem.where for problem in caught.value.problems} == {"token", "port", "regoin"}
    assert "did you mean region?" in str(caught.value)
    assert "s3cret" not in str(caught.value)


# What is wrong with what it returns or raises.


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return None", "load returned None instead of rows"),
        ("return 7", "load returned int instead of an iterable of rows"),
        ("return {'a': 1}", "load returned dict instead of an iterable of rows"),
        ("return [{'a': 1}, 'text']", "row 1 is not a mapping but str"),
        ("return [{'a': 1}, {'a': object()}]", "column 'a', row 1: object has no faithful form"),
        ("return [{1: 1}]", "row 0 has a column whose name is not text but int: 1"),
        ("raise ValueError('no such table')", "ValueError: no such table"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()", "__str__ raised ZeroDivisionError"),
        ("raise RuntimeError('\\ud800')", "RuntimeError: \\ud800"),
        ("raise RuntimeError('x' * 10_000_000)", "characters left out"),
    ],
)
def test_what_a_syncer_does_wrong_is_its_own_error_and_it_lives_on(
    runner: Runner, make_syncer: MakeSyncer, body: str, message: str
) -> None:
    with runner.open(make_syncer(loading(body))) as acme:
        with pytest.raises(SyncerError) as caught:
            acme.load("orders")
        assert message in str(caught.value)
        assert acme.load("alive") == [{"alive": True}]


def test_an_error_carries_type_attributes_and_the_remote_traceback(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        class QuotaError(Exception):
            def __init__(self, left):
                super().__init__(f"{left} left")
                self.left = left
                self.handle = object()

        class Acme:
            name = "acme"

            def load(self, identifier):
                try:
                    {}["missing"]
                except KeyError as error:
                    raise QuotaError(3) from error

            def dump(self, identifier, *, data): ...
        """
    )
    with runner.open(folder) as acme, pytest.raises(SyncerError) as caught:
        acme.load("orders")
    error = caught.value
    assert error.type.endswith("QuotaError")
    assert error.message == "3 left"
    assert error.attributes == {"left": 3}
    assert error.traceback.count("syncer.py") == 2
    assert "syncell_worker" not in error.traceback
    assert "KeyError: 'missing'" in str(error.__cause__)


def test_two_threads_on_one_syncer_get_an_error_and_no_corrupted_stream(
    runner: Runner, make_syncer: MakeSyncer
) -> None:
    with runner.open(make_syncer(loading("for n in range(5000): yield {'n': n}"))) as acme:
        stream = acme.stream("orders")
        rows = next(stream)
        caught: list[BaseException] = []

        def use() -> None:
            try:
                acme.load("alive")
            except CellUnusable as error:
                caught.append(error)

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert "still under way" in str(caught[0])
        assert [row["n"] for row in rows + [row for batch in stream for row in batch]] == list(range(5000))


def test_threads_use_their_own_syncers_at_once(runner: Runner, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(loading("return [{'n': n} for n in range(3000)]"))
    counts = []

    def use() -> None:
        with runner.open(folder) as acme:
            counts.append(len(acme.load("orders")))

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [3000] * 4
