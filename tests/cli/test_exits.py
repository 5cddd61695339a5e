"""What goes wrong is said once, in words, and the exit code says of which kind it was."""

from __future__ import annotations

import pytest

from cli.command import MakeSyncer, Run

FAILING = """
    import os, threading

    class Acme:
        name = "acme"

        def __init__(self, port: int = 1):
            pass

        def load(self, identifier):
            if identifier == "raise":
                return inner(identifier)
            if identifier == "escape":
                raise RuntimeError("\\x1b[2Jgone [bold]")
            if identifier == "file":
                return open("/etc/passwd").readlines()
            if identifier == "crash":
                os._exit(7)
            if identifier == "hang":
                threading.Event().wait()
            if identifier == "memory":
                return [{"a": b"x" * 2**30}]
            return [{"a": object()}]

        dump = None

    def inner(identifier):
        raise ValueError("not today")
"""


@pytest.mark.parametrize(
    ("identifier", "options", "code", "message"),
    [
        ("raise", [], 1, "syncell: acme: ValueError: not today"),
        ("crash", [], 1, "syncell: acme: the worker exited with code 7"),
        ("file", [], 4, "--allow-read /etc/passwd"),
        ("hang", ["--timeout", "0.2"], 5, "--timeout"),
        ("memory", ["--memory", "300MiB"], 5, "syncell: acme: limit memory="),
    ],
    ids=["error", "crash", "denied", "time-out", "memory"],
)
def test_what_a_syncer_does_wrong_has_an_exit_code(
    syncell: Run, make_syncer: MakeSyncer, identifier: str, options: list[str], code: int, message: str
) -> None:
    done = syncell("load", f"{make_syncer(FAILING)}#{identifier}", "--quiet", *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("syncell: acme: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_allowed_path_is_not_denied(syncell: Run, make_syncer: MakeSyncer) -> None:
    done = syncell("load", f"{make_syncer(FAILING)}#file", "--quiet", "--allow-read", "/etc/passwd")
    assert done.returncode == 1  # lines are no rows, but there are lines
    assert "not a mapping" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["load", "nosuch#x"], "no syncer has this name"),
        (["load", "{folder}://port=many#x"], "port"),
        (["load", "./nosuch#x"], "MANIFEST.json"),
        (["load", "{folder}#x", "--memory", "12parsec"], "not a size"),
        (["load", "{folder}#x", "--timeout", "soon"], "no length of time"),
        (["load", "{folder}#x", "--timeout", "0"], "more than zero"),
        (["load", "{folder}#x", "--sandbox", "maybe"], "best-effort"),
        (["load", "{folder}#x", "--nosuch"], "--nosuch"),
        (["load", "{folder}#x", "--constraint", "./nosuch.txt"], "./nosuch.txt cannot be read"),
        (["load"], "SPEC"),
        (["copy", "{folder}#x", "json://directory=out"], "which resource"),
        (["nosuch"], "nosuch"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_a_person_writes_wrong_ends_with_two(
    syncell: Run, make_syncer: MakeSyncer, arguments: list[str], message: str
) -> None:
    folder = str(make_syncer(FAILING))
    done = syncell(*(argument.replace("{folder}", folder) for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_environment_that_cannot_be_built_ends_with_three(syncell: Run, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(FAILING, requirements=["acme @ https://acme.example/acme.tar.gz"])
    done = syncell("load", f"{folder}#x", "--quiet")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("syncell: acme: ")
    assert "Traceback" not in done.stderr


def test_a_syncers_traceback_is_its_last_frame_and_whole_when_asked_for(syncell: Run, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(FAILING)
    short = syncell("load", f"{folder}#raise", "--quiet").stderr
    assert short == (
        "syncell: acme: ValueError: not today\n"
        f'  File "{folder}/syncer.py", line 28, in inner; --verbose shows the whole traceback\n'
    )
    whole = syncell("load", f"{folder}#raise", "--verbose").stderr
    assert "Traceback (most recent call last):" in whole
    assert "in load" in whole
    assert "in inner" in whole
    assert "runner/syncell" not in whole  # of the host's own code there is nothing to see


def test_an_error_cannot_drive_the_terminal(syncell: Run, make_syncer: MakeSyncer) -> None:
    done = syncell("load", f"{make_syncer(FAILING)}#escape", "--quiet")
    assert "syncell: acme: RuntimeError: \\x1b[2Jgone [bold]\n" in done.stderr


def test_the_help_names_every_exit_code(syncell: Run) -> None:
    from syncell.cli.exits import EXITS

    told = " ".join(syncell("--help").stdout.split())
    for it in EXITS:
        assert f"{it.code}: {it.meaning.replace('`', '')}" in told


def test_a_word_of_the_syncer_is_shown_when_asked_for(syncell: Run, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(
        """
        import logging

        class Acme:
            name = "acme"

            def load(self, identifier):
                print("printed")
                logging.info("logged")
                logging.warning("warned")
                return []

            dump = None
        """
    )
    told = syncell("load", f"{folder}#x", "--verbose").stderr.splitlines()
    assert "acme: printed" in told
    assert "acme: logged" in told
    assert "acme: warning: warned" in told
    assert syncell("load", f"{folder}#x").stderr == "acme: warning: warned\n"
    assert syncell("load", f"{folder}#x", "--quiet").stderr == ""


def test_an_unknown_key_of_a_manifest_is_a_warning_for_a_person(syncell: Run, make_syncer: MakeSyncer) -> None:
    folder = make_syncer(FAILING, requirement=["idna"])
    told = syncell("load", f"{folder}#raise").stderr
    assert told.startswith("syncell: warning: ")
    assert "requirement" in told
    assert "manifest.py" not in told
