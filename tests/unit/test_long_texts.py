# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a regular expression takes of memory is in proportion to the text that it reads.

An alternative that is tried for each character keeps some hundred bytes for each, so that a megabyte of an unclosed
quote took hundreds of them. What consists of escapes alone still takes half of that, as each of them is an iteration.
"""

from __future__ import annotations

import tracemalloc
import typing as t

import pytest

from ansible_collections.kopano.hardening.plugins.module_utils._caa import records as _records
from ansible_collections.kopano.hardening.plugins.module_utils._tls import http as _tls_http
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import apache as _apache
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import model as _webserver_model
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import nginx as _nginx
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import server as _server
from ansible_collections.kopano.hardening.plugins.module_utils._webserver import stronger as _stronger

pytestmark = pytest.mark.slow

LENGTH = 1 << 16
LONG = "a" * LENGTH
A_CHARACTER = 40  # bytes; a text of Python's takes up to four, and is copied a few times


def apache_words(text: str) -> t.Any:
    return _apache._WORD.findall(text)


READERS: dict[str, tuple[t.Callable[[str], t.Any], str]] = {
    "nginx, a word": (lambda text: _nginx.parse(text, "nginx.conf"), LONG + ";"),
    "nginx, quoted": (lambda text: _nginx.parse(text, "nginx.conf"), f'a "{LONG}";'),
    "nginx, not closed": (lambda text: _nginx.parse(text, "nginx.conf"), f'a "{LONG}'),
    "nginx, Lua": (lambda text: _nginx.parse(text, "nginx.conf"), f'content_by_lua_block {{ "{LONG}" }}'),
    "Apache, quoted": (apache_words, f'a "{LONG}"'),
    "Apache, not closed": (apache_words, f"a '{LONG}"),
    "systemd's list": (_server._shown_items, f'"{LONG}"'),
    "HSTS": (_tls_http._DIRECTIVE.match, f'a="{LONG}"'),
    "the HSTS of a configuration": (_stronger._DIRECTIVE.match, f'a="{LONG}"'),
    "CAA": (_records._RECORD.fullmatch, f'0 issue "{LONG}"'),
}


@pytest.mark.parametrize("name", READERS)
def test_memory_is_in_proportion_to_the_text(name: str) -> None:
    read, text = READERS[name]
    tracemalloc.start()
    try:
        read(text)
    except _webserver_model.ConfigError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < A_CHARACTER * LENGTH, f"{peak / LENGTH:.0f} bytes for each character"
