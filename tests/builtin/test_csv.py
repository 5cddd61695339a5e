"""The csv syncer: what it reads, what it refuses, what it writes, and that it writes whole files or nothing."""

from __future__ import annotations

import csv
import datetime as dt
import decimal
import errno
import io
import os
import resource
import signal
import subprocess
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Make = Callable[..., Any]


@pytest.fixture
def module(syncer_module: Callable[[str], ModuleType]) -> ModuleType:
    return syncer_module("csv")


@pytest.fixture
def make(module: ModuleType, tmp_path: Path) -> Make:
    return lambda **options: module.CSV(**{"directory": tmp_path, "delimiter": ",", **options})


def written(path: Path) -> str:
    return path.read_bytes().decode()


def entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_rows_are_text_under_the_names_of_the_header(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("id,note\n1,\n2,NULL\n")
    assert make().load("orders") == [{"id": "1", "note": ""}, {"id": "2", "note": "NULL"}]


def test_empty_as_null_makes_none_of_empty_fields_only(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("id,note\n0,\n,x\n")
    assert make(empty_as_null=True).load("orders") == [{"id": "0", "note": None}, {"id": None, "note": "x"}]


@pytest.mark.parametrize("delimiter", [",", "|", ";", "\t"])
def test_a_delimiter_that_is_not_given_is_found_in_the_first_line(
    module: ModuleType, tmp_path: Path, delimiter: str
) -> None:
    (tmp_path / "orders.csv").write_text(f'a{delimiter}"b{delimiter}c"\n1{delimiter}"2,3;4|5"\n')
    syncer = module.CSV(tmp_path, save_strategy="APPEND")
    assert syncer.load("orders") == [{"a": "1", f"b{delimiter}c": "2,3;4|5"}]
    syncer.dump("orders", data=[{"a": "6", f"b{delimiter}c": "7"}])
    assert syncer.load("orders")[1] == {"a": "6", f"b{delimiter}c": "7"}


def test_a_file_of_one_column_or_of_nothing_needs_no_delimiter(module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("a\n1\n")
    (tmp_path / "nothing.csv").write_text("")
    assert module.CSV(tmp_path).load("one") == [{"a": "1"}]
    assert module.CSV(tmp_path).load("nothing") == []


def test_a_new_file_is_written_with_commas(module: ModuleType, tmp_path: Path) -> None:
    module.CSV(tmp_path).dump("orders", data=[{"a": 1, "b": 2}])
    assert (tmp_path / "orders.csv").read_bytes() == b"a,b\r\n1,2\r\n"


def test_a_tab_may_be_written_as_backslash_t(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("a\tb\n1\t2\n")
    assert make(delimiter="\\t").load("orders") == [{"a": "1", "b": "2"}]


def test_a_header_that_looks_cut_at_the_wrong_delimiter_is_warned_of(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "orders.csv").write_text("a;b\n1;2\n")
    assert make().load("orders") == [{"a;b": "1;2"}]
    assert "is ',' the right delimiter?" in caplog.text


def test_batches_hold_a_thousand_rows_and_are_read_as_they_are_asked_for(make: Make, tmp_path: Path) -> None:
    lines = "".join(f"{number}\n" for number in range(2_500))
    (tmp_path / "orders.csv").write_text(f"id\n{lines}too,many\n")
    batches = make().load_batches("orders")
    assert [len(next(batches)), len(next(batches))] == [1_000, 1_000]
    with pytest.raises(ValueError, match="line 2,502"):
        next(batches)


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n\r\n", b"id,note\r\n"])
def test_a_file_without_rows_has_none(make: Make, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "orders.csv").write_bytes(content)
    assert make().load("orders") == []


def test_a_byte_order_mark_is_no_part_of_the_first_name(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_bytes(b"\xef\xbb\xbfid\n1\n")
    assert make().load("orders") == [{"id": "1"}]


def test_line_breaks_and_blank_lines_and_quotes_are_read_as_the_field_writes_them(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_bytes(b'a,b\r\n"x\r\ny\n","say ""hi"""\r\n\r\n1,C:\\temp\r\n')
    assert make().load("orders") == [{"a": "x\r\ny\n", "b": 'say "hi"'}, {"a": "1", "b": "C:\\temp"}]


def test_without_a_header_the_columns_are_numbered_and_no_row_is_lost(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("1,\n2,y\n")
    assert make(header=False).load("orders") == [
        {"column_1": "1", "column_2": ""},
        {"column_1": "2", "column_2": "y"},
    ]
    assert make(header=False, empty_as_null=True).load("orders")[0] == {"column_1": "1", "column_2": None}


@pytest.mark.parametrize(("row", "fields"), [("1", 1), ("1,2,3", 3)])
def test_a_ragged_row_is_an_error_with_its_line(make: Make, tmp_path: Path, row: str, fields: int) -> None:
    (tmp_path / "orders.csv").write_text(f'a,b\n"x\ny",2\n\n{row}\n')
    with pytest.raises(ValueError, match=rf"orders\.csv, line 5: expected 2 fields.*found {fields}"):
        make().load("orders")


def test_a_quote_that_is_never_closed_is_an_error(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text('a,b\n1,"2\n3,4\n')
    with pytest.raises(ValueError, match=r"orders\.csv, line 3: unexpected end of data"):
        make().load("orders")


def test_a_repeated_column_is_an_error_rather_than_a_lost_one(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("a,b,a\n1,2,3\n")
    with pytest.raises(ValueError, match="the header repeats 'a'"):
        make().load("orders")


def test_text_that_is_not_utf8_is_an_error_that_names_the_file(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_bytes(b"a\ncaf\xe9\n")
    with pytest.raises(ValueError, match=r"orders\.csv, after line 0: not UTF-8"):
        make().load("orders")


def test_a_field_may_be_larger_than_the_csv_modules_own_limit(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(f"a\n{'x' * 1_000_000}\n")
    assert len(make().load("orders")[0]["a"]) == 1_000_000


def test_a_missing_file_is_an_error_that_names_what_is_there(make: Make, tmp_path: Path) -> None:
    (tmp_path / "order.csv").touch()
    with pytest.raises(FileNotFoundError, match=r"orders\.csv does not exist; .* holds order\.csv"):
        make().load("orders")


def test_a_missing_folder_is_an_error_that_names_it(make: Make, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"there is no folder {tmp_path / 'no'}"):
        make(directory=tmp_path / "no").load("orders")


@pytest.mark.parametrize("identifier", ["../orders", "a/../../orders", "/etc/passwd", "", ".", "..", "a\0b"])
def test_an_identifier_never_leaves_the_directory(make: Make, tmp_path: Path, identifier: str) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "orders.csv").write_text("a\n1\n")
    syncer = make(directory=inside)
    with pytest.raises(ValueError, match="expected the name of a file inside"):
        syncer.load(identifier)
    with pytest.raises(ValueError, match="expected the name of a file inside"):
        syncer.dump(identifier, data=[{"a": 1}])
    assert written(tmp_path / "orders.csv") == "a\n1\n"


def test_an_identifier_may_name_a_folder_inside_the_directory(make: Make, tmp_path: Path) -> None:
    make().dump("2024/orders.eu", data=[{"a": 1}])
    assert entries(tmp_path / "2024") == ["orders.eu.csv"]
    assert make().load("2024/orders.eu") == [{"a": "1"}]


def test_every_value_has_its_documented_text(make: Make, tmp_path: Path) -> None:
    row = {
        "none": None,
        "bool": True,
        "int": 10**30,
        "float": 0.1,
        "decimal": decimal.Decimal("1.10"),
        "naive": dt.datetime(2013, 1, 1, 5, 0),
        "exact": dt.datetime(2013, 1, 1, 5, 0, 0, 120, tzinfo=dt.UTC),
        "date": dt.date(2013, 1, 1),
        "time": dt.time(5, 15),
        "delta": dt.timedelta(hours=1, milliseconds=5),
        "uuid": uuid.UUID(int=1),
        "bytes": b"\x00\xff",
        "nested": [{"at": dt.date(2013, 1, 1), "é": None}],
    }
    make(delimiter="|").dump("orders", data=[row])
    header, line = written(tmp_path / "orders.csv").splitlines()
    assert header == "|".join(row)
    assert line == (
        "|true|1000000000000000000000000000000|0.1|1.10|2013-01-01 05:00:00|2013-01-01 05:00:00.000120+00:00|2013-01-01"
        '|05:15:00|3600.005|00000000-0000-0000-0000-000000000001|AP8=|"[{""at"": ""2013-01-01"", ""é"": null}]"'
    )


def test_date_time_format_is_for_date_times(make: Make, tmp_path: Path) -> None:
    row = {"a": dt.datetime(2013, 1, 2, 3, 4), "b": dt.date(2013, 1, 2)}
    make(date_time_format="%d.%m.%Y %H:%M").dump("orders", data=[row])
    assert written(tmp_path / "orders.csv") == "a,b\r\n02.01.2013 03:04,2013-01-02\r\n"


def test_a_value_without_a_form_is_an_error_naming_row_and_column(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="orders: row 2, column 'b': a set has no form in CSV"):
        make().dump("orders", data=[{"a": 1, "b": 2}, {"a": 1, "b": {3}}])
    assert entries(tmp_path) == []


def test_quoting_all_quotes_every_field(make: Make, tmp_path: Path) -> None:
    make(quoting="all").dump("orders", data=[{"a": 1, "b": None}])
    assert written(tmp_path / "orders.csv") == '"a","b"\r\n"1",""\r\n'


def test_the_escape_character_stands_before_quotes_and_itself(make: Make, tmp_path: Path) -> None:
    syncer = make(escape_character="\\")
    rows = [{"a": 'say "hi"', "b": "C:\\temp"}]
    syncer.dump("orders", data=rows)
    assert '\\"hi\\"' in written(tmp_path / "orders.csv")
    assert syncer.load("orders") == rows


def test_doubled_quotes_are_understood_beside_an_escape_character(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text('a\n"say ""hi"" \\"ho\\""\n')
    assert make(escape_character="\\").load("orders") == [{"a": 'say "hi" "ho"'}]


def test_rows_with_different_keys_fill_the_union_of_their_columns(make: Make, tmp_path: Path) -> None:
    make().dump("orders", data=[{"a": 1}, {"b": 2, "a": 3}, {}])
    assert written(tmp_path / "orders.csv") == "a,b\r\n1,\r\n3,2\r\n,\r\n"


def test_a_column_that_comes_after_the_header_is_written_is_an_error(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="orders: row 3 has 'b', but the columns are already 'a'"):
        make().dump_batches("orders", batches=iter([[{"a": 1}, {"a": 2}], [{"a": 1, "b": 2}]]))
    assert entries(tmp_path) == []


def test_a_missing_directory_is_made(make: Make, tmp_path: Path) -> None:
    make(directory=tmp_path / "new" / "er").dump("orders", data=[{"a": 1}])
    assert entries(tmp_path / "new" / "er") == ["orders.csv"]


def test_no_rows_overwrite_with_an_empty_file(make: Make, tmp_path: Path) -> None:
    make().dump("orders", data=[{"a": 1}])
    make().dump("orders", data=[])
    assert written(tmp_path / "orders.csv") == ""


def test_rows_without_any_column_are_an_error(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows without a single column"):
        make().dump("orders", data=[{}])


def test_without_a_header_only_rows_are_written(make: Make, tmp_path: Path) -> None:
    make(header=False).dump("orders", data=[{"a": 1, "b": 2}])
    assert written(tmp_path / "orders.csv") == "1,2\r\n"


def test_a_csv_reader_of_another_program_reads_the_same(make: Make, tmp_path: Path) -> None:
    rows = [{"a": "x,y\r\n", "b": 'q"'}, {"a": "", "b": "é"}]
    make().dump("orders", data=rows)
    assert list(csv.DictReader(io.StringIO(written(tmp_path / "orders.csv"), newline=""))) == rows


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=20)


@given(
    columns=st.lists(texts, min_size=1, max_size=4, unique=True),
    data=st.data(),
    quoting=st.sampled_from(["ALL", "MINIMAL"]),
    escape_character=st.sampled_from([None, "\\", "'"]),
    zipped=st.booleans(),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_text_comes_back_as_it_was_dumped(make: Make, columns: list[str], data: st.DataObject, **options: Any) -> None:
    rows = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(columns, texts)), max_size=5))
    syncer = make(**options)
    syncer.dump("orders", data=rows)
    assert syncer.load("orders") == rows


def test_append_writes_after_what_is_there_by_column_name(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("a,b\n1,2")
    make(save_strategy="append").dump("orders", data=[{"b": 4, "a": 3}, {"b": 5}])
    assert written(tmp_path / "orders.csv") == "a,b\n1,2\r\n3,4\r\n,5\r\n"


@pytest.mark.parametrize("zipped", [False, True])
def test_append_writes_one_header_however_often_it_is_called(make: Make, zipped: bool) -> None:
    for number in range(3):
        make(save_strategy="APPEND", zipped=zipped).dump("orders", data=[{"a": number}])
    assert make(zipped=zipped).load("orders") == [{"a": "0"}, {"a": "1"}, {"a": "2"}]


def test_append_refuses_a_column_that_the_file_lacks(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("a\n1\n")
    with pytest.raises(ValueError, match="row 1 has 'b', but the columns are already 'a'"):
        make(save_strategy="APPEND").dump("orders", data=[{"b": 1}])
    assert written(tmp_path / "orders.csv") == "a\n1\n"


def test_append_without_a_header_refuses_another_number_of_columns(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("1,2\n")
    syncer = make(save_strategy="APPEND", header=False)
    syncer.dump("orders", data=[{"x": 3, "y": 4}])
    assert written(tmp_path / "orders.csv") == "1,2\n3,4\r\n"
    with pytest.raises(ValueError, match="the file has 2 columns, the rows have 1"):
        syncer.dump("orders", data=[{"x": 3}])


def test_appending_no_rows_changes_nothing(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("a\n1\n")
    make(save_strategy="APPEND").dump("orders", data=[])
    assert written(tmp_path / "orders.csv") == "a\n1\n"


def test_zipped_is_an_archive_that_holds_the_file(make: Make, tmp_path: Path) -> None:
    rows = [{"a": "é" * 1_000}]
    make(zipped=True).dump("orders", data=rows)
    assert entries(tmp_path) == ["orders.zip"]
    with zipfile.ZipFile(tmp_path / "orders.zip") as archive:
        assert archive.namelist() == ["orders.csv"]
        assert archive.getinfo("orders.csv").compress_size < 100
    with zipfile.ZipFile(tmp_path / "orders.zip", "a") as archive:
        archive.writestr("README.txt", "not read")
    assert make(zipped=True).load("orders") == rows


def test_the_only_file_of_an_archive_is_read_whatever_its_name(make: Make, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "orders.csv.zip", "w") as archive:
        archive.writestr("export/other.csv", "a\n1\n")
    assert make(zipped=True).load("orders.csv") == [{"a": "1"}]


def test_an_archive_without_the_file_is_an_error_that_names_what_it_holds(make: Make, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "orders.zip", "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    with pytest.raises(FileNotFoundError, match=r"orders\.zip holds no orders\.csv; it holds a\.csv, b\.csv"):
        make(zipped=True).load("orders")


def test_a_file_that_is_no_archive_is_an_error_that_names_it(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.zip").write_text("a\n1\n")
    with pytest.raises(ValueError, match=r"orders\.zip: File is not a zip file"):
        make(zipped=True).load("orders")


def broken() -> Iterator[list[dict[str, Any]]]:
    yield [{"a": number} for number in range(5_000)]
    raise ConnectionResetError("the source went away")


@pytest.mark.parametrize("options", [{}, {"zipped": True}, {"save_strategy": "APPEND"}])
def test_a_source_that_fails_half_way_leaves_the_old_file(make: Make, tmp_path: Path, options: dict[str, Any]) -> None:
    syncer = make(**options)
    syncer.dump("orders", data=[{"a": "old"}])
    with pytest.raises(ConnectionResetError):
        syncer.dump_batches("orders", batches=broken())
    assert len(entries(tmp_path)) == 1
    assert syncer.load("orders") == [{"a": "old"}]


@pytest.mark.parametrize("options", [{}, {"zipped": True}, {"save_strategy": "APPEND"}])
def test_a_dump_ended_half_way_leaves_the_old_file_and_nothing_beside_it(
    make: Make,
    tmp_path: Path,
    half_way: Callable[..., subprocess.Popen[str]],
    ending: signal.Signals,
    options: dict[str, Any],
) -> None:
    make(**options, delimiter="|").dump("orders", data=[{"a": "old", "b": ""}])
    process = half_way("csv", "CSV", directory=tmp_path, **options)
    process.send_signal(ending)
    assert process.wait(30) == -ending
    assert len(entries(tmp_path)) == 1
    assert make(**options, delimiter="|").load("orders") == [{"a": "old", "b": ""}]


def test_a_dump_that_the_disk_has_no_room_for_leaves_the_old_file(
    make: Make, tmp_path: Path, half_way: Callable[..., subprocess.Popen[str]]
) -> None:
    make().dump("orders", data=[{"a": "old"}])
    process = half_way("csv", "CSV", directory=tmp_path)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (700_000, 700_000))
    assert f"[Errno {errno.EFBIG}]" in process.communicate("go\n")[1]
    assert entries(tmp_path) == ["orders.csv"]
    assert make().load("orders") == [{"a": "old"}]


def without_nameless_files(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Behave as NFS does. A fake: no such file system can be mounted without being root."""

    def refuse(path: Any, flags: int, *arguments: Any, real: Callable[..., int] = os.open) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "not supported", str(path))
        return real(path, flags, *arguments)

    monkeypatch.setattr(module.files.os, "open", refuse)


def test_where_every_file_has_a_name_a_failed_dump_leaves_nothing_either(
    make: Make, module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_nameless_files(monkeypatch, module)
    with pytest.raises(ConnectionResetError):
        make().dump_batches("orders", batches=broken())
    assert entries(tmp_path) == []
    make().dump("orders", data=[{"a": 1}])
    assert entries(tmp_path) == ["orders.csv"]


def test_a_failed_rename_leaves_nothing_beside_the_old_content(make: Make, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").mkdir()
    with pytest.raises(IsADirectoryError):
        make().dump("orders", data=[{"a": 1}])
    assert entries(tmp_path) == ["orders.csv"]


def test_a_private_file_stays_private_when_it_is_replaced(make: Make, tmp_path: Path) -> None:
    make().dump("orders", data=[{"a": 1}])
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "orders.csv").stat().st_mode & 0o777 == 0o666 & ~umask
    (tmp_path / "orders.csv").chmod(0o600)
    make().dump("orders", data=[{"a": 2}])
    assert (tmp_path / "orders.csv").stat().st_mode & 0o777 == 0o600


def test_both_copies_of_the_file_code_are_the_same(syncer_module: Callable[[str], ModuleType]) -> None:
    copies = {Path(syncer_module(name).files.__file__).read_text() for name in ("csv", "json")}
    assert len(copies) == 1


def test_all_wrong_options_are_named_at_once(make: Make) -> None:
    with pytest.raises(ValueError, match=r"delimiter: .*; escape_character: .*; quoting: .*; save_strategy: "):
        make(delimiter="||", escape_character='"', quoting="SOME", save_strategy="MERGE")


def test_an_escape_character_that_is_the_delimiter_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="escape_character: ',' is the delimiter already"):
        make(escape_character=",")


def test_the_name_is_csv(make: Make) -> None:
    assert make().name == "csv"
