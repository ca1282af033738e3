# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins!

"""Keeps the compiled code of this collection on a host for its next runs, as Python does for what is installed.

Ansible brings a module's code as source in a zip file, and Python compiles all of it in every run, which is a fourth of
what a host costs where nothing changes. Here it is kept in C(/run), which is in memory and empty after a reboot, in a
folder of root's that nobody else can enter: one file for each module, with the digests of its source and of itself.
Whatever is not as it should be there is not used. Where the module does not run as root, and in check mode, nothing is
written.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.machinery
import importlib.util
import marshal
import os
import stat
import sys
import types
import typing as t
import zipimport

FOLDER = "/run/kopano-hardening/compiled"
PACKAGE = __name__.rpartition(".")[0] + "."


class _Loader:
    """Loads a module of the zip file, by code that is kept or by compiling its source."""

    def __init__(self, finder: Finder, archive: zipimport.zipimporter) -> None:
        self._finder = finder
        self._archive = archive

    def create_module(self, _spec: t.Any) -> None:
        """The default."""

    def exec_module(self, module: types.ModuleType) -> None:
        source = (self._archive.get_source(module.__name__) or "").encode("utf-8")
        code = self._finder.kept(module.__name__, source)
        if code is None:
            code = compile(source, module.__name__, "exec", dont_inherit=True)
            self._finder.compiled[module.__name__] = (source, code)
        exec(code, module.__dict__)  # noqa: S102 - what an import does

    def get_source(self, name: str) -> str | None:
        """For the lines of a traceback."""
        return self._archive.get_source(name)


class Finder:
    """Finds this collection's modules where a zip file has them. C(compiled) is what was not kept in the folder."""

    def __init__(self, folder: str = FOLDER) -> None:
        self.folder = folder
        self.compiled: dict[str, tuple[bytes, types.CodeType]] = {}
        self._is_safe = _is_ours(folder)

    def find_spec(self, name: str, path: t.Any, target: t.Any = None) -> importlib.machinery.ModuleSpec | None:
        if not name.startswith(PACKAGE):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        loader: t.Any = spec.loader if spec else None
        if spec and isinstance(loader, zipimport.zipimporter):
            spec.loader = t.cast(t.Any, _Loader(self, loader))
        return spec

    def kept(self, name: str, source: bytes) -> types.CodeType | None:
        """The code of a module as it is kept, if it is of this source and interpreter."""
        if not self._is_safe:
            return None
        try:
            with open(self._path(name), "rb") as stream:
                content = stream.read()
        except OSError:
            return None
        wanted, code = _key(source), content[64:]
        if content[:32] != wanted or content[32:64] != _digest(wanted + code):
            return None
        found: types.CodeType = marshal.loads(code)  # noqa: S302 - of a file of ours, with the right digest
        return found

    def keep(self) -> None:
        """Write what was compiled. A host on which that is not possible goes on without."""
        if not self.compiled or os.geteuid() != 0:
            return
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(self.folder), mode=0o755, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.folder, 0o700)
            if not _is_ours(self.folder):
                return
            for name, (source, compiled) in self.compiled.items():
                key, code = _key(source), marshal.dumps(compiled)
                path = self._path(name)
                new = "%s.%d" % (path, os.getpid())
                with open(new, "wb") as stream:
                    stream.write(key + _digest(key + code) + code)
                os.rename(new, path)
        self.compiled = {}

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, f"{name[len(PACKAGE) :]}.{sys.implementation.cache_tag}")


def _is_ours(folder: str) -> bool:
    """Whether it is a folder of ours, and of nobody else's."""
    try:
        state = os.lstat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid() == 0 and not state.st_mode & 0o077


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _key(source: bytes) -> bytes:
    return _digest(importlib.util.MAGIC_NUMBER + source)


FINDER = Finder()


def use() -> None:
    """Have what is imported from now on taken from what is kept."""
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, t.cast(t.Any, FINDER))


def keep(check_mode: bool) -> None:
    """Keep what this process has compiled."""
    if not check_mode:
        FINDER.keep()
