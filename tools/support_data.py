#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes the collection's data on how long distributions are maintained: plugins/module_utils/_updates/support_data.py.

support_data.py --distro-info FOLDER --distro-info-date DATE --endoflife FILE --endoflife-date DATE [--json] OUTPUT

FOLDER has debian.csv and ubuntu.csv, as Debian's package distro-info-data installs them; DATE is the day on which the
package was made, which its changelog says. FILE is JSON with the releases of endoflife.date's products, by their names:
{"products": {"debian": {"releases": [the fields of a product's file]}}}. With --json the same data are written as the
module's option support_data takes them.

Dates of both sources are kept side by side, so that the earlier one can count and both can be said.
"""

from __future__ import annotations

import argparse
import calendar
import datetime
import importlib.util
import json
import pprint
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
READER = ROOT / "plugins" / "module_utils" / "_updates" / "support.py"
OLDEST = "2010-01-01"  # releases from before that are of no use

DISTRO_INFO, ENDOFLIFE, RED_HAT = "distro-info-data", "endoflife.date", "access.redhat.com"

# endoflife.date's product to the collection's, with what each column means for it
PRODUCTS: dict[str, tuple[str, dict[str, str]]] = {
    "debian": ("debian", {"full": "eol", "lts": "eoes"}),
    "ubuntu": ("ubuntu", {"full": "eol", "extended": "eoes"}),
    "rhel": ("rhel", {"full": "eol", "extended": "eoes"}),
    "rocky-linux": ("rocky", {"full": "eol"}),
    "almalinux": ("almalinux", {"full": "eol"}),
    "centos": ("centos", {"full": "eol"}),
    "centos-stream": ("centos-stream", {"full": "eol"}),
    "oracle-linux": ("ol", {"full": "eol", "extended": "eoes"}),
    "fedora": ("fedora", {"full": "eol"}),
    "sles": ("sles", {"full": "eol", "extended": "eoes"}),
    "opensuse": ("opensuse", {"full": "eol"}),
    "amazon-linux": ("amzn", {"full": "eol"}),
}
# Their releases are major ones, which have minor ones.
WITH_MINOR = ("rhel", "rocky", "almalinux", "ol")

# Minor releases of RHEL with Extended Update Support, which is for 24 months from their release.
# Source: https://access.redhat.com/articles/rhel-eus, read on EUS_DATE
EUS_MONTHS = 24
EUS = {
    "8.4": "2021-05-18",
    "8.6": "2022-05-10",
    "8.8": "2023-05-16",
    "9.0": "2022-05-18",
    "9.2": "2023-05-10",
    "9.4": "2024-04-30",
    "9.6": "2025-05-20",
    "10.0": "2025-05-20",
}
EUS_DATE = "2026-11-25"

HEAD = '''\
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use it from other collections or standalone plugins/modules!

"""How long distributions are maintained. Made by tools/support_data.py: do not edit.

Dates are from endoflife.date (https://endoflife.date, MIT licence, copyright of the endoflife.date contributors) and
from distro-info-data (https://salsa.debian.org/debian/distro-info-data, ISC licence, copyright 2009-2024 Benjamin Drung
and 2009-2021 Stefano Rivera). The latter's notice: Permission to use, copy, modify, and/or distribute this software for
any purpose with or without fee is hereby granted, provided that the above copyright notice and this permission notice
appear in all copies. The software is provided "as is", without any warranty.

Product, release, stage, and the end of the stage by source. None: the source knows of no end yet.
"""

from __future__ import annotations

import typing as t

'''


def reader() -> ModuleType:
    """The module that reads the same files on hosts."""
    specification = importlib.util.spec_from_file_location("support", READER)
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def months_later(day: datetime.date, months: int) -> datetime.date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return datetime.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def of_endoflife(products: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The releases of all products by the collection's names, with the dates that endoflife.date has."""
    found: dict[str, dict[str, Any]] = {product: {} for product, _columns in PRODUCTS.values()}
    for name, (product, columns) in PRODUCTS.items():
        for release in products[name]["releases"]:
            if release["releaseDate"] < OLDEST:
                continue
            stages: dict[str, Any] = {}
            for stage, column in columns.items():
                end = release.get(column)
                # Without full support there is no release; other stages are only there where they are named.
                if end or (stage == "full" and end is False):
                    stages[stage] = {ENDOFLIFE: end or None}
            if product in WITH_MINOR:
                stages["newest"] = release["latest"]
            found[product][release["releaseCycle"]] = stages
    return found


def collect(distro_info: Path, endoflife: Path) -> dict[str, dict[str, Any]]:
    """All data: product, release, stages."""
    releases = of_endoflife(json.loads(endoflife.read_text())["products"])
    for product in ("debian", "ubuntu"):
        text = (distro_info / f"{product}.csv").read_text()
        for version, stages in reader().distro_info(text, product, DISTRO_INFO).items():
            # Both have the releases that matter; the other names are those of old ones.
            for stage, ends in stages.items():
                if version in releases[product]:
                    known = releases[product][version].setdefault(stage, {})
                    releases[product][version][stage] = {**ends, **known}
                elif max(ends.values()) > OLDEST:
                    releases[product].setdefault(version, {})[stage] = ends
    for version, released in EUS.items():
        end = months_later(datetime.date.fromisoformat(released), EUS_MONTHS).isoformat()
        releases["rhel"][version] = {"extended": {RED_HAT: end}}
    return releases


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--distro-info", type=Path, required=True)
    parser.add_argument("--distro-info-date", type=datetime.date.fromisoformat, required=True)
    parser.add_argument("--endoflife", type=Path, required=True)
    parser.add_argument("--endoflife-date", type=datetime.date.fromisoformat, required=True)
    parser.add_argument("--generated", type=datetime.date.fromisoformat, default=datetime.date.today())
    parser.add_argument("--json", action="store_true")
    parser.add_argument("output", type=Path)
    wish = parser.parse_args()
    dates = {
        DISTRO_INFO: wish.distro_info_date.isoformat(),
        ENDOFLIFE: wish.endoflife_date.isoformat(),
        RED_HAT: EUS_DATE,
    }
    releases = collect(wish.distro_info, wish.endoflife)
    if wish.json:
        wish.output.write_text(json.dumps({"dates": dates, "releases": releases}, indent=1) + "\n")
        return
    text = HEAD + f'GENERATED = "{wish.generated}"\n\n# When the data of each source were made.\n'
    text += f"DATES: dict[str, str] = {pprint.pformat(dates, sort_dicts=False)}\n\n"
    text += "RELEASES: dict[str, dict[str, dict[str, t.Any]]] = "
    text += pprint.pformat(releases, sort_dicts=False, width=110) + "\n"
    wish.output.write_text(text)


if __name__ == "__main__":
    main()
