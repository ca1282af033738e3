#!/usr/bin/env python3
# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of the lab: lab.py up|reset|down|status|inventory|exec|ssh|clean."""

from __future__ import annotations

import sys

from kopano_lab.cli import main

sys.exit(main())
