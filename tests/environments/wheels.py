"""Packages as small as they can be, made by the tests that install them."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path


class WheelFolder:
    """Wheels and source distributions, made as small as they can be."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def add(
        self, name: str, version: str = "1.0", files: Mapping[str, str] | None = None, requires: tuple[str, ...] = ()
    ) -> Path:
        """Write a wheel that holds a module of its own name, and `files` besides."""
        info = f"{name}-{version}.dist-info"
        content = {
            f"{name}.py": f"version = {version!r}\n",
            **(files or {}),
            f"{info}/METADATA": "".join(
                [
                    f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
                    *(f"Requires-Dist: {requirement}\n" for requirement in requires),
                ]
            ),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = [f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in content.items()]
        wheel = self.path / f"{name}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in content.items():
                archive.writestr(path, text)
            archive.writestr(f"{info}/RECORD", "".join([*record, f"{info}/RECORD,,\n"]))
        return wheel

    def add_source(self, name: str, backend: str, requires: tuple[str, ...] = ()) -> Path:
        """Write a source distribution whose build runs `backend`, a module that finds what it `requires`."""
        build_system = f'[build-system]\nrequires = {[*requires]}\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        files = {
            "pyproject.toml": f'{build_system}[project]\nname = "{name}"\nversion = "1.0"\n',
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            "backend.py": textwrap.dedent(backend),
        }
        source = self.path / f"{name}-1.0.tar.gz"
        with tarfile.open(source, "w:gz") as archive:
            for path, text in files.items():
                member = tarfile.TarInfo(f"{name}-1.0/{path}")
                member.size = len(text.encode())
                archive.addfile(member, io.BytesIO(text.encode()))
        return source


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
