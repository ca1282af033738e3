# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""In the place of setuptools: pip has a package's metadata made before it saves an archive, which builds some of them.

The lab takes a source archive from the package and builds nothing else of it, so its own metadata are passed on.
"""

from __future__ import annotations

import pathlib
from typing import Any


class _Backend:
    """The hooks of PEP 517 that `pip download` calls."""

    @staticmethod
    def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
        return []

    @staticmethod
    def prepare_metadata_for_build_wheel(metadata_directory: str, config_settings: Any = None) -> str:
        text = pathlib.Path("PKG-INFO").read_text()
        name, version = (text.partition(f"\n{field}: ")[2].partition("\n")[0] for field in ("Name", "Version"))
        folder = pathlib.Path(metadata_directory, f"{name.replace('-', '_')}-{version}.dist-info")
        folder.mkdir()
        (folder / "METADATA").write_text(text)
        return folder.name


__legacy__ = _Backend
