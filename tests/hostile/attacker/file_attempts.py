"""Ways to files that nobody granted. `outside` holds `secret`; `granted` is granted to read and to write."""

from __future__ import annotations

import ctypes
import os
import pathlib
import struct
import tempfile
import threading
from typing import Any

import raw

World = dict[str, Any]


def read_outside(world: World) -> str:
    return pathlib.Path(world["outside"], "secret").read_text()


def list_outside(world: World) -> list[str]:
    return os.listdir(world["outside"])


def write_outside(world: World) -> None:
    pathlib.Path(world["outside"], "victim").write_text("overwritten")


def append_outside(world: World) -> None:
    os.close(os.open(f"{world['outside']}/victim", os.O_WRONLY | os.O_APPEND))


def truncate_outside(world: World) -> None:
    os.truncate(f"{world['outside']}/victim", 0)


def create_outside(world: World) -> None:
    pathlib.Path(world["outside"], "created").touch(exist_ok=False)
    pathlib.Path(world["outside"], "created").unlink()


def make_folder_outside(world: World) -> None:
    pathlib.Path(world["outside"], "folder").mkdir()
    pathlib.Path(world["outside"], "folder").rmdir()


def remove_outside(world: World) -> None:
    pathlib.Path(world["outside"], "disposable").unlink()
    pathlib.Path(world["outside"], "disposable").touch()


def rename_from_outside(world: World) -> str:
    """Were it moved to where the rules of another folder hold, it could be read."""
    here, there = pathlib.Path(world["granted"], "stolen"), pathlib.Path(world["outside"], "secret")
    there.rename(here)
    try:
        return here.read_text()
    finally:
        here.rename(there)


def rename_to_outside(world: World) -> None:
    here, there = pathlib.Path(world["granted"], "planted"), pathlib.Path(world["outside"], "planted")
    here.touch()
    here.rename(there)
    there.unlink()


def link_to_outside(world: World) -> str:
    here = pathlib.Path(world["granted"], "hard-link")
    os.link(f"{world['outside']}/secret", here)
    try:
        return here.read_text()
    finally:
        here.unlink()


def symbolic_link_to_outside(world: World) -> str:
    here = pathlib.Path(world["granted"], "symbolic-link")
    here.unlink(missing_ok=True)
    here.symlink_to(f"{world['outside']}/secret")
    return here.read_text()


def dots_to_outside(world: World) -> str:
    return pathlib.Path(world["granted"], "..", pathlib.Path(world["outside"]).name, "secret").read_text()


def descriptor_to_outside(world: World) -> bytes:
    folder = os.open(world["granted"], os.O_RDONLY)
    return os.read(os.open(f"../{pathlib.Path(world['outside']).name}/secret", os.O_RDONLY, dir_fd=folder), 100)


def path_descriptor_opened_again(world: World) -> bytes:
    """A descriptor that only names a file can be had of any; opening it by its link asks Landlock again."""
    named = os.open(f"{world['outside']}/secret", os.O_PATH)
    return os.read(os.open(f"/proc/self/fd/{named}", os.O_RDONLY), 100)


def working_folder_outside(world: World) -> str:
    os.chdir(world["outside"])
    return pathlib.Path("secret").read_text()


def openat2_outside(world: World) -> bytes:
    how = struct.pack("=QQQ", os.O_RDONLY, 0, 0)
    path = ctypes.c_char_p(f"{world['outside']}/secret".encode())
    return os.read(raw.call((437, 437), -100, path, ctypes.c_char_p(how), len(how)), 100)


def root_link_to_outside(world: World) -> str:
    return pathlib.Path(f"/proc/self/root{world['outside']}/secret").read_text()


def race_to_outside(world: World) -> str:
    """Open a name while another thread turns it from a file of one's own into a link to another's, and back."""
    folder = pathlib.Path(world["granted"])
    own, link, name = folder / "race-own", folder / "race-link", folder / "race"
    stop = threading.Event()

    def turn() -> None:
        while not stop.is_set():
            own.write_text("own")
            own.replace(name)
            link.unlink(missing_ok=True)
            link.symlink_to(f"{world['outside']}/secret")
            link.replace(name)

    turner = threading.Thread(target=turn)
    turner.start()
    refused: OSError | None = None
    try:
        for _ in range(3000):
            try:
                if (found := name.read_text()) and "own" not in found:
                    return found
            except FileNotFoundError:
                continue
            except PermissionError as error:
                refused = error
    finally:
        stop.set()
        turner.join()
    assert refused is not None, "the name was never the link"
    raise refused


def chmod_outside(world: World) -> None:
    os.chmod(f"{world['outside']}/victim", 0o644)


def chmod_outside_by_number(world: World) -> int:
    return raw.call((268, 53), -100, ctypes.c_char_p(f"{world['outside']}/victim".encode()), 0o644)


def chmod_outside_by_number_2(world: World) -> int:
    return raw.call((452, 452), -100, ctypes.c_char_p(f"{world['outside']}/victim".encode()), 0o644, 0)


def chmod_of_a_path_descriptor(world: World) -> None:
    named = os.open(f"{world['outside']}/victim", os.O_PATH)
    os.chmod(f"/proc/self/fd/{named}", 0o644)


def utime_outside(world: World) -> None:
    os.utime(f"{world['outside']}/victim", (1, 1))


def utime_outside_by_number(world: World) -> int:
    return raw.call((280, 88), -100, ctypes.c_char_p(f"{world['outside']}/victim".encode()), None, 0)


def chown_outside(world: World) -> None:
    os.chown(f"{world['outside']}/victim", -1, os.getgid())


def attribute_outside(world: World) -> str:
    path, name, value = (ctypes.c_char_p(text.encode()) for text in (f"{world['outside']}/victim", "user.x", "y"))
    return raw.reach((188, 5), path, name, value, 1, 0)


def watch_outside(world: World) -> int:
    watcher = raw.call((294, 26), 0)
    return raw.call((254, 27), watcher, ctypes.c_char_p(world["outside"].encode()), 0xFFF)


def handle_of_outside(world: World) -> str:
    buffer = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) + bytes(128))
    mount = ctypes.c_int()
    path = ctypes.c_char_p(f"{world['outside']}/secret".encode())
    return raw.reach((303, 264), -100, path, buffer, ctypes.byref(mount), 0)


def plant_in_environment(world: World) -> None:
    _plant(world["environment"])


def plant_in_kit(world: World) -> None:
    _plant(world["kit"])


def plant_in_cache(world: World) -> None:
    _plant(world["cache"])


def plant_in_own_code(world: World) -> None:
    _plant(world["own_code"])


def _plant(folder: str) -> None:
    mode = os.stat(folder).st_mode & 0o7777
    if mode & 0o200 == 0:
        os.chmod(folder, 0o755)
    try:
        planted = pathlib.Path(folder, "planted.pth")
        planted.touch()
        planted.unlink()
    finally:
        os.chmod(folder, mode)


def write_bytecode_of_own_code(world: World) -> None:
    tempfile.NamedTemporaryFile(dir=world["own_code"]).close()
