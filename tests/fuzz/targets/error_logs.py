# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Error logs, in whose lines there is what clients and backends send, and what a refusal is explained with."""

from __future__ import annotations

import os
import random

from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import diagnose as _diagnose
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import error_logs as _error_logs
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import layout as _layout
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from tests.fuzz import folders, mutations
from tests.fuzz.frame import target

MAIN, WORKER = 7, 8
NGINX = "2026/12/07 10:00:00 [{}] {}#{}: "
APACHE = "[Mon Dec 07 10:00:00.123456 2026] [ssl:{}] [pid {}:tid 139] "
CONFIGS = {
    "nginx": "events {}\nhttp {\nx on;\nupstream b { server 192.0.2.1:8080; }\nssl_ciphers NOSUCH;\n}\n",
    "apache": "Listen 8443\nSSLCipherSuite NOSUCH\nProxyPass / http://192.0.2.1:8080/\n",
}
SECRET = "root:secret"
SEEDS = (
    NGINX.format("emerg", MAIN, MAIN) + 'unknown directive "x" in {main}:3\n',
    NGINX.format("emerg", MAIN, MAIN) + "hello in {secret}:1\n",
    NGINX.format("emerg", MAIN, MAIN) + "bind() to 0.0.0.0:443 failed (98: Address already in use)\n",
    NGINX.format("alert", WORKER, WORKER) + 'chdir("/x") failed (2: No such file or directory)\n',
    NGINX.format("error", WORKER, WORKER) + '*1 open() "/srv/\nhello in /dev/zero:1\n" failed, client: 192.0.2.1\n',
    NGINX.format("crit", WORKER, WORKER)
    + "*2 connect() to 192.0.2.1:8080 failed (13: Permission denied) while connecting to upstream, client: ::1\n",
    APACHE.format("emerg", MAIN) + "AH02572: Failed to configure at least one certificate and key\n",
    "AH00526: Syntax error on line 2 of {main}:\nInvalid command 'x'\n",
    "AH00526: Syntax error on line 1 of {secret}:\n",
    APACHE.format("error", WORKER) + "(13)Permission denied: AH00957: HTTP: attempt to connect to 192.0.2.1:8080 (x)\n",
)


def _make(source: random.Random, cases: tuple[bytes, ...]) -> bytes:
    """Damaged lines, or one that is very long."""
    if source.random() < 0.9:
        return mutations.of_data(source, cases)
    return mutations.swell(source, source.choice(cases))


@target("logs.errors", make=_make, seeds=tuple(seed.encode() for seed in SEEDS))
def errors(case: bytes) -> None:
    """No line leads to a file that is not of the configuration, and what is reported has a limit."""
    folder = folders.empty()
    secret = os.path.join(folder, "shadow")
    for server, load in (("nginx", _nginx.load), ("apache", _apache.load)):
        main, log = os.path.join(folder, f"{server}.conf"), os.path.join(folder, f"{server}.log")
        for path, text in ((main, CONFIGS[server]), (secret, SECRET), (log, "")):
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
        logs = _error_logs.ErrorLogs(server, [log])
        with open(log, "wb") as data:
            data.write(case.replace(b"{main}", main.encode()).replace(b"{secret}", secret.encode()))
        layout = next(one for one in _layout.LAYOUTS if one.server == server)
        config = load(layout._replace(main_config=main, config_dir=folder, policy_dir=folder, envvars=None))
        logged = logs.logged(MAIN)
        fault = _diagnose.refusal("it was refused", logged, config, None)
        assert fault.file in (None, main) and SECRET not in str(fault)
        assert len(fault.reason) <= 12 * (_error_logs.LONGEST + 1) + 100
        denied = _diagnose.denied_backend(_error_logs.of_workers(logged, server, {WORKER}), config)
        assert not denied or "192.0.2.1:8080 " in denied
