# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A connection to a host that is only recorded: what a module returned on a real host of the lab, by the module's name.

With C(recording) the module runs on the real host, and its output is kept. Without it nothing is sent anywhere, so that
a run shows what the controller does for a host.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ansible.plugins.connection.ssh import DOCUMENTATION as OF_SSH
from ansible.plugins.connection.ssh import Connection as Ssh

DOCUMENTATION = OF_SSH.replace("name: ssh", "name: recorded").replace("connection: ssh", "connection: recorded")


class Connection(Ssh):
    transport = "recorded"

    def exec_command(self, cmd, in_data=None, sudoable=True):
        names = re.findall(rb"plugins[./]modules[./](\w+)", in_data or b"")
        if not names:
            raise AssertionError(f"not a module by pipelining: {cmd}")
        kept = Path(os.environ["RECORDED"]) / names[0].decode()
        if os.environ.get("RECORDING"):
            code, output, errors = super().exec_command(cmd, in_data, sudoable)
            kept.write_bytes(output)
            return code, output, errors
        return 0, kept.read_bytes(), b""
