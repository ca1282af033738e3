# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""C(make fuzz): damaged and invented input for everything that reads what strangers send.

frame.py: what a target is, and how cases are run. mutations.py: how a case is made of others. run.py: the command.
targets/: the targets, a module for each domain.
"""
