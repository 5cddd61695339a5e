"""The protocol's rules: the order of messages, what breaks them, and that no bytes do any other harm."""

from __future__ import annotations

import datetime as dt
import itertools
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncell_worker import values, wire

GOLDEN = Path(__file__).parent / "golden"
HOST, WORKER = wire.HOST, wire.WORKER


def rows_frame(rows: list[dict[str, Any]]) -> wire.Rows:
    (frame,) = values.Encoder().encode(rows)
    return frame


def opening(options: dict[str, Any], **fields: Any) -> wire.Open:
    row = rows_frame([options])
    return wire.Open(
        name="acme", folder="/srv/acme", syncer_class="Acme", environment="/srv/environment",
        options=msgspec.Raw(row.body), option_columns=row.columns, option_types=row.types, **fields,
    )  # fmt: skip


DAY = dt.date(2024, 2, 29)

# One conversation with every message in it: (name of its golden frame, sender, call, event).
CONVERSATION: list[tuple[str, str, int, Any]] = [
    ("offer", HOST, 0, wire.Offer(versions=[1], read=["/srv/acme"], rlimits={"CPU": 60})),
    ("hello", WORKER, 0, wire.Hello(version=1, layers=["no_new_privs"], pid=7, python="3.12.1")),
    ("open", HOST, 0, opening({"directory": "/srv/in", "since": DAY}, paths=["directory"], log_level=20)),
    ("log", WORKER, 0, wire.Log(level=20, logger="acme", message="connected")),
    ("opened", WORKER, 0, wire.Opened(name="acme", members=["load_batches", "close"])),
    ("load", HOST, 1, wire.Load(identifier="orders")),
    ("rows-plain", WORKER, 1, rows_frame([{"id": 1, "note": None}, {"id": 2, "note": "late"}])),
    ("rows-typed", WORKER, 1, rows_frame([{"id": 3, "day": DAY}, {"id": 4, "day": None}])),
    ("rows-mixed", WORKER, 1, rows_frame([{"id": 2**64, "day": DAY}, {"id": 5, "day": "soon"}])),
    ("cancel", HOST, 1, wire.Cancel()),
    ("done", WORKER, 1, wire.Done(rows=6)),
    ("dump", HOST, 2, wire.Dump(identifier="orders")),
    ("rows-dumped", HOST, 2, rows_frame([{"id": 1}])),
    (
        "failed",
        WORKER,
        2,
        wire.Failed(
            kind="syncer",
            name="acme.Refused",
            message="not today",
            traceback="Traceback (most recent call last):\n",
            attributes={"status": 403},
        ),
    ),
    ("end", HOST, 2, wire.End(rows=1)),
    ("close", HOST, 0, wire.Close()),
    ("closed", WORKER, 0, wire.Closed()),
]
# Instead of `open`, and its answer: a conversation of its own.
INSPECTING = [
    ("inspect", HOST, wire.Inspect(name="acme", folder="/srv/acme", syncer_class="Acme", environment="/srv/env")),
    ("inspected", WORKER, wire.Inspected(schema={"type": "object", "required": ["token"]}, members=["close"])),
]
# Instead of `opened`.
REFUSED = wire.Failed(kind="options", problems=[wire.Problem("port", "expected a whole number, got other text")])
EVENTS = {name: event for name, _, _, event in CONVERSATION}


def written(buffers: list[wire.Buffer]) -> bytes:
    return b"".join(map(bytes, buffers))


def conversation_until(name: str) -> tuple[dict[str, wire.Connection], bytes]:
    """Both sides after the frames before this one, and the frame as its sender writes it."""
    sides = {HOST: wire.Connection(HOST), WORKER: wire.Connection(WORKER)}
    for step, sender, call, event in CONVERSATION:
        # `failed` and `end` cross each other: the host had sent its last frame before it saw that the call is over.
        if step == "failed" and name in ("end", "close", "closed"):
            late = sides[WORKER].send(event, call)
            continue
        frame = written(sides[sender].send(event, call))
        if step == name:
            return sides, frame
        sides[WORKER if sender == HOST else HOST].receive(frame)
        if step == "end":
            sides[HOST].receive(written(late))
    raise AssertionError(name)


@pytest.mark.parametrize("name", EVENTS)
def test_frames_are_written_byte_for_byte_as_they_were_in_version_1(name: str) -> None:
    _, frame = conversation_until(name)
    assert frame == bytes.fromhex((GOLDEN / f"{name}.hex").read_text())


@pytest.mark.parametrize(("name", "sender", "call", "event"), CONVERSATION, ids=list(EVENTS))
def test_golden_frames_are_read_as_what_was_written(name: str, sender: str, call: int, event: Any) -> None:
    sides, _ = conversation_until(name)
    frame = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
    received = sides[WORKER if sender == HOST else HOST].receive(frame)
    if name == "end":  # the worker has already failed this call
        assert received == []
    else:
        assert received == [(call, event)]


def test_refused_options_have_a_golden_frame_too() -> None:
    sides, _ = conversation_until("opened")
    sides[WORKER].state = "OPENING"
    frame = bytes.fromhex((GOLDEN / "refused.hex").read_text())
    assert written(sides[WORKER].send(REFUSED)) == frame
    assert sides[HOST].receive(frame) == [(0, REFUSED)]
    assert sides[HOST].state == sides[WORKER].state == "CLOSED"


def test_an_inspection_is_a_conversation_of_its_own_with_golden_frames() -> None:
    sides, _ = conversation_until("open")
    sides[HOST].state = "GREETED"
    for name, sender, event in INSPECTING:
        frame = bytes.fromhex((GOLDEN / f"{name}.hex").read_text())
        assert written(sides[sender].send(event)) == frame
        assert sides[WORKER if sender == HOST else HOST].receive(frame) == [(0, event)]
    assert sides[HOST].state == sides[WORKER].state == "CLOSED"


def test_the_conversations_have_every_message() -> None:
    events = [*EVENTS.values(), *(event for _, _, event in INSPECTING)]
    assert {type(event) for event in events} == {*wire.Message.__subclasses__(), wire.Rows}


# The table.

STATES = {state for state, _, _ in wire.TRANSITIONS} | set(wire.TRANSITIONS.values())
ALL_STEPS = list(
    itertools.product(sorted(STATES), (HOST, WORKER), sorted({type(event).__name__ for event in EVENTS.values()}))
)
SAMPLES = {type(event).__name__: event for event in EVENTS.values()}


def in_state(role: str, state: str) -> wire.Connection:
    connection = wire.Connection(role)
    connection.state = state
    connection.call = 7
    connection._offered = [1]
    return connection


def right_call(state: str, event: Any) -> int:
    if isinstance(event, (wire.Load, wire.Dump)):
        return 8
    return 7 if state in ("LOADING", "DUMPING", "SETTLING") else 0


def raw(event: Any, call: int) -> bytes:
    """A frame as a peer without any rules would write it."""
    if isinstance(event, wire.Rows):
        return struct.pack(">4I", len(event.head) + len(event.body), 2, call, len(event.head)) + event.head + event.body
    payload = msgspec.msgpack.encode(event)
    return struct.pack(">4I", len(payload), 1, call, 0) + payload


def allowed(state: str, sender: str, event: Any) -> str | None:
    """The state after this, or None."""
    if isinstance(event, wire.Log) and sender == WORKER:
        return None if state in ("START", "OFFERED", "CLOSED") else state
    return wire.TRANSITIONS.get((state, sender, type(event)))


@pytest.mark.parametrize(("state", "sender", "name"), ALL_STEPS)
def test_both_sides_allow_exactly_what_the_table_allows(state: str, sender: str, name: str) -> None:
    event = SAMPLES[name]
    call = right_call(state, event)
    after = allowed(state, sender, event)
    mine, theirs = in_state(sender, state), in_state(WORKER if sender == HOST else HOST, state)
    if after is None:
        with pytest.raises(wire.LocalProtocolError, match=f"{name} from the {sender} in state {state}"):
            mine.send(event, call)
        assert mine.state == state
        with pytest.raises(wire.RemoteProtocolError, match=f"{name} from the {sender} in state {state}"):
            theirs.receive(raw(event, call))
    else:
        assert written(mine.send(event, call)) == raw(event, call)
        assert theirs.receive(raw(event, call)) == [(call, event)]
        assert mine.state == theirs.state == after


@pytest.mark.parametrize(("state", "sender", "name"), ALL_STEPS)
def test_a_frame_of_another_call_is_refused_on_both_sides(state: str, sender: str, name: str) -> None:
    event = SAMPLES[name]
    if allowed(state, sender, event) is None or isinstance(event, wire.Log):
        return  # refused whatever its call, or allowed whatever its call
    for wrong in (
        {0, 6, 7, 9} - {right_call(state, event)} - ({9} if isinstance(event, (wire.Load, wire.Dump)) else set())
    ):
        mine, theirs = in_state(sender, state), in_state(WORKER if sender == HOST else HOST, state)
        with pytest.raises(wire.LocalProtocolError, match="call"):
            mine.send(event, wrong)
        with pytest.raises(wire.RemoteProtocolError, match="call"):
            theirs.receive(raw(event, wrong))


@pytest.mark.parametrize("name", ["Rows", "End", "Cancel"])
def test_a_worker_ignores_late_frames_of_the_call_that_just_ended(name: str) -> None:
    worker = in_state(WORKER, "READY")
    assert worker.receive(raw(SAMPLES[name], 7)) == []
    assert worker.state == "READY"
    next_call = raw(wire.Load(identifier="x"), 8)
    assert worker.receive(raw(SAMPLES[name], 7) + next_call) == [(8, wire.Load(identifier="x"))]


def test_a_failed_dump_may_still_be_fed_and_the_next_call_is_clean() -> None:
    host, worker = in_state(HOST, "READY"), in_state(WORKER, "READY")
    rows = SAMPLES["Rows"]
    worker.receive(written(host.send(wire.Dump(identifier="x"), 8)))
    failed = written(worker.send(wire.Failed(kind="syncer"), 8))
    late = written(host.send(rows, 8)) + written(host.send(wire.End(rows=1), 8))
    assert host.receive(failed) == [(8, wire.Failed(kind="syncer"))]
    late += written(host.send(wire.Dump(identifier="y"), 9)) + written(host.send(rows, 9))
    assert worker.receive(late) == [(9, wire.Dump(identifier="y")), (9, rows)]


def test_late_frames_of_older_calls_are_refused() -> None:
    with pytest.raises(wire.RemoteProtocolError, match="Rows from the host in state READY"):
        in_state(WORKER, "READY").receive(raw(SAMPLES["Rows"], 6))


def test_a_host_ignores_nothing() -> None:
    for event in (SAMPLES["Rows"], SAMPLES["Done"], SAMPLES["Failed"]):
        with pytest.raises(wire.RemoteProtocolError):
            in_state(HOST, "READY").receive(raw(event, 7))


# Versions, limits and other rules.


def test_a_worker_picks_the_best_version_that_both_speak() -> None:
    assert wire.pick_version([99, 1]) == 1
    assert wire.pick_version([99]) is None
    assert wire.pick_version([]) is None


def test_a_version_that_was_not_offered_is_refused_on_both_sides() -> None:
    host, worker = wire.Connection(HOST), wire.Connection(WORKER)
    worker.receive(written(host.send(wire.Offer(versions=[1, 2]))))
    with pytest.raises(wire.LocalProtocolError, match="version 3 was not among the offered"):
        worker.send(wire.Hello(version=3))
    with pytest.raises(wire.RemoteProtocolError, match="version 3 was not among the offered"):
        host.receive(raw(wire.Hello(version=3), 0))


def test_additions_of_a_later_minor_are_ignored() -> None:
    payload = msgspec.msgpack.encode({"later": {"a": [1]}, "rows": 5, "type": "done"})
    frame = struct.pack(">4I", len(payload), 1, 7, 0) + payload
    assert in_state(HOST, "LOADING").receive(frame) == [(7, wire.Done(rows=5))]


def test_a_refused_message_leaves_the_conversation_as_it_was() -> None:
    connection = in_state(HOST, "READY")
    with pytest.raises(wire.LocalProtocolError, match="exceeds the limit"):
        connection.send(wire.Load(identifier="x" * (wire.MAX_PAYLOAD + 1)), 8)
    with pytest.raises(wire.LocalProtocolError, match="Load holds text that is not Unicode"):
        connection.send(wire.Load(identifier="\udc80"), 8)
    assert connection.send(wire.Load(identifier="x"), 8)


@pytest.mark.parametrize(
    ("size", "kind", "head", "message"),
    [
        (wire.MAX_PAYLOAD + 1, 1, 0, "exceeds the limit"),
        (2**32 - 1, 2, 0, "exceeds the limit"),
        (wire.MAX_HEAD + 2, 2, wire.MAX_HEAD + 1, "too many columns"),
        (10, 2, 11, "does not fit"),
        (10, 1, 5, "does not fit"),
        (10, 0, 0, "not a frame"),
        (10, 3, 0, "not a frame"),
    ],
)
def test_a_header_that_breaks_a_limit_is_refused_before_its_payload_comes(
    size: int, kind: int, head: int, message: str
) -> None:
    with pytest.raises(wire.RemoteProtocolError, match=message):
        in_state(HOST, "LOADING").receive(struct.pack(">4I", size, kind, 7, head))


@pytest.mark.parametrize(("size", "head"), [(wire.MAX_PAYLOAD, 0), (wire.MAX_PAYLOAD - wire.MAX_HEAD, wire.MAX_HEAD)])
def test_frames_up_to_the_limits_pass(size: int, head: int) -> None:
    frame = wire.Rows(1, (), {}, bytes(head), bytes(size - head))
    (header, *_) = in_state(WORKER, "LOADING").send(frame, 7)
    assert in_state(HOST, "LOADING").receive(header) == []
    too_much = wire.Rows(1, (), {}, bytes(head), bytes(wire.MAX_PAYLOAD - head + 1))
    with pytest.raises(wire.LocalProtocolError, match="exceeds the limit"):
        in_state(WORKER, "LOADING").send(too_much, 7)


def test_nothing_can_be_said_after_the_protocol_was_broken() -> None:
    connection = in_state(HOST, "READY")
    with pytest.raises(wire.RemoteProtocolError):
        connection.receive(raw(wire.Opened(name="x"), 0))
    with pytest.raises(wire.LocalProtocolError):
        connection.send(wire.Load(identifier="x"), 8)
    with pytest.raises(wire.RemoteProtocolError):
        connection.receive(raw(wire.Log(level=10, logger="x", message="x"), 0))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xc0", id="nil"),
        pytest.param(b"\x80", id="untagged"),
        pytest.param(b"\x81\xa4type\xa7unknown", id="unknown"),
        pytest.param(b"\x81\xa4type\xa4load", id="a field is missing"),
        pytest.param(b"\x82\xa4type\xa4load\xaaidentifier\x07", id="a wrong type"),
        pytest.param(b"\x82\xa4type\xa4load\xaaidentifier\xa1\xff", id="text not UTF-8"),
        pytest.param(b"\x81\xa4type\xa1\xff", id="tag not UTF-8"),
        pytest.param(b"\x81\xa4type\xa6cancel\xc0", id="bytes left over"),
        pytest.param(b"\x82\xa4type\xa3end\xa4rows\xff", id="negative count"),
        pytest.param(b"\x82\xa4type\xa6cancel\xa1x" + b"\x91" * 100_000 + b"\xc0", id="too deep"),
        pytest.param(b"\x82\xa4type\xa6cancel\xa1x\xdd\xff\xff\xff\xff", id="an array longer than the frame"),
    ],
)
def test_a_payload_that_is_no_message_is_refused(payload: bytes) -> None:
    with pytest.raises(wire.RemoteProtocolError, match="cannot be read"):
        in_state(WORKER, "DUMPING").receive(struct.pack(">4I", len(payload), 1, 7, 0) + payload)


# Fuzzing: whatever comes, it is events or a RemoteProtocolError, and memory stays within what was sent.


def survives(connection: wire.Connection, pieces: list[bytes]) -> list[wire.Event] | None:
    """Feed the pieces, and read the rows; None when the peer was refused."""
    try:
        events = [event for piece in pieces for event in connection.receive(piece)]
        for _, event in events:
            if isinstance(event, wire.Rows):
                values.decode(event)
    except wire.RemoteProtocolError:
        return None
    return events


# A worker's side of a load with every kind of rows, and a host's side of a dump with the same.
FRAMES = [EVENTS[name] for name in ("rows-plain", "rows-typed", "rows-mixed")]
LOADED = b"".join(raw(event, 7) for event in [EVENTS["log"], *FRAMES, EVENTS["failed"]])
DUMPED = b"".join(raw(event, 7) for event in [*FRAMES, EVENTS["end"]])
STREAMS = st.sampled_from([(HOST, "LOADING", LOADED), (WORKER, "DUMPING", DUMPED)])


@given(st.sampled_from([(role, state) for role in (HOST, WORKER) for state in sorted(STATES)]), st.lists(st.binary()))
def test_random_bytes_are_survived(where: tuple[str, str], pieces: list[bytes]) -> None:
    survives(in_state(*where), pieces)


@given(STREAMS, st.integers(1, 2), st.binary(), st.binary(), st.data())
def test_random_payloads_in_right_frames_are_survived(
    stream: tuple[str, str, bytes], kind: int, head: bytes, body: bytes, data: st.DataObject
) -> None:
    size = len(head) if kind == 2 else 0
    frame = struct.pack(">4I", len(head) + len(body), kind, 7, size) + head + body
    survives(in_state(*stream[:2]), [frame])


@given(STREAMS, st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_survived(stream: tuple[str, str, bytes], changes: list[tuple[int, int]]) -> None:
    role, state, good = stream
    changed = bytearray(good)
    for position, value in changes:
        changed[position % len(changed)] = value
    survives(in_state(role, state), [bytes(changed)])


@given(STREAMS, st.integers(0), st.integers(0))
def test_bytes_cut_out_are_survived(stream: tuple[str, str, bytes], first: int, second: int) -> None:
    role, state, good = stream
    start, end = sorted((first % len(good), second % len(good)))
    survives(in_state(role, state), [good[:start] + good[end:]])


@given(STREAMS, st.lists(st.integers(0)))
def test_however_a_stream_is_cut_the_events_are_the_same(stream: tuple[str, str, bytes], cuts: list[int]) -> None:
    role, state, good = stream
    places = [0, *sorted(cut % len(good) for cut in cuts), len(good)]
    pieces = [good[start:end] for start, end in itertools.pairwise(places)]
    whole = survives(in_state(role, state), [good])
    assert whole is not None
    assert len(whole) == (5 if role == HOST else 4)
    assert survives(in_state(role, state), pieces) == whole


@pytest.mark.parametrize("stream", [(HOST, "LOADING", LOADED), (WORKER, "DUMPING", DUMPED)], ids=["load", "dump"])
def test_a_stream_may_come_byte_by_byte(stream: tuple[str, str, bytes]) -> None:
    role, state, good = stream
    bytewise = [good[place : place + 1] for place in range(len(good))]
    assert survives(in_state(role, state), bytewise) == survives(in_state(role, state), [good])


def test_a_peer_that_sends_byte_by_byte_costs_no_more_memory_than_its_bytes() -> None:
    connection = in_state(HOST, "LOADING")
    size = 200_000
    connection.receive(struct.pack(">4I", size + 1, 2, 7, 0))
    tracemalloc.start()
    try:
        for _ in range(size):
            assert connection.receive(b"x") == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * size


def test_an_announced_frame_takes_no_memory_before_it_comes() -> None:
    connection = in_state(HOST, "LOADING")
    tracemalloc.start()
    try:
        connection.receive(struct.pack(">4I", wire.MAX_PAYLOAD, 2, 7, 0) + b"x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000
