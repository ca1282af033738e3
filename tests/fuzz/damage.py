# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damage to texts that other programs write: by bytes or by lines and words, and files that end too early."""

from __future__ import annotations

import random

from . import mutations


def damaged(source: random.Random, data: bytes) -> bytes:
    """The data with some pieces of it changed."""
    if source.random() < 0.5:
        return mutations.of_data(source, [data])
    return mutations.of_text(source, [data.decode("utf-8", "replace")]).encode("utf-8", "replace")


def cut(source: random.Random, data: bytes) -> bytes:
    """The beginning of the data."""
    return data[: source.randrange(len(data))] if data else data
