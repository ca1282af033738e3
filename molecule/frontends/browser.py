# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chromium, which has its own opinion of what a page may do.

It has a camera and a microphone that are not real, and everybody may use them whom the server does not forbid it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Any

from frontends import Frontend
from playwright.sync_api import BrowserContext, Error, sync_playwright

PROGRAMS = ("chromium-headless-shell", "chromium")
# What the pages of the stand-ins write down once each of their parts has worked.
WEBAPP = ("ready", "inline", "eval", "function", "preview", "worker")
PATIENCE = 120_000  # milliseconds, for a page that hangs
ATTEMPTS = 5
ASK = "navigator.mediaDevices.getUserMedia({audio: true, video: true}).then(() => 'allowed', (error) => error.name)"


def look(frontends: Iterable[Frontend]) -> dict[str, dict[str, Any]]:
    """Opens WebApp and Meet on each host: what worked there, and what the browser said of it."""
    frontends = list(frontends)
    places = ", ".join(f"MAP {frontend.name} {frontend.ipv4}" for frontend in frontends)
    program = next(filter(None, map(shutil.which, PROGRAMS)))
    words = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", f"--host-resolver-rules={places}"]
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program, args=words) as browser:
        found = {}
        for frontend in frontends:
            with browser.new_context(ignore_https_errors=True) as context:
                found[frontend.host] = {
                    "webapp": visit(context, f"https://{frontend.name}/webapp/", WEBAPP, ASK),
                    "meet": visit(context, f"https://{frontend.name}/meet/", ("media",)),
                }
        return found


def visit(context: BrowserContext, url: str, marks: Iterable[str], then: str = "") -> dict[str, Any]:
    """One page: the marks that it has left, what was said on the console and what failed to load until then.

    then is asked afterwards; what the browser says about that is not kept. When a network of this machine comes or
    goes, which those of other scenarios do, Chromium gives its requests up: then the page is opened anew.
    """
    for _attempt in range(ATTEMPTS):
        result = _visit(context, url, marks, then)
        if not any("ERR_NETWORK_CHANGED" in line for line in result["said"]):
            break
    return result


def _visit(context: BrowserContext, url: str, marks: Iterable[str], then: str) -> dict[str, Any]:
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("requestfailed", lambda request: said.append(f"not loaded: {request.url}: {request.failure}"))
    try:
        page.goto(url)
        # A selector, because the page's policy may forbid to evaluate anything in it.
        page.wait_for_selector("html" + "".join(f"[data-{mark}]" for mark in marks), state="attached", timeout=PATIENCE)
    except Error as error:  # the judgement comes later
        said.append(f"error: {error}")
    marked = page.evaluate("({...document.documentElement.dataset})")
    result = {"marks": marked, "said": list(said)}
    if then:
        result["then"] = page.evaluate(then)
    page.close()
    return result
