# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What other tests take for quadratic time."""

from __future__ import annotations

import pytest

from . import timing


@pytest.mark.parametrize(("work", "quadratic"), [(lambda n: sum(range(n)), False), (lambda n: sum(range(n * n)), True)])
def test_quadratic_time_is_told_from_linear(work, quadratic):
    assert timing.is_quadratic(work, 40_000 if not quadratic else 500) is quadratic
