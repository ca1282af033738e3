# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's page in a real browser: narrow and wide, light and dark, by keyboard, on paper, and without scripts."""

from __future__ import annotations

import datetime
import json
import re
import shutil

import pytest

from ansible_collections.kopano.hardening.plugins.plugin_utils._report import files as _files
from ansible_collections.kopano.hardening.plugins.plugin_utils._report import html as _report_html

from . import report_bed as bed

playwright = pytest.importorskip("playwright.sync_api")
PROGRAM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is here")

try:
    from axe_playwright_python.sync_playwright import Axe
except ImportError:
    Axe = None

WIDTHS = (375, 1440)
THEMES = ("light", "dark")

# Each text that can be seen, against what is really behind it: [ratio, text] where it is too weak (WCAG 2.2, AA).
CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const mix = ([r, g, b, a = 1], under) => [r, g, b].map((value, at) => value * a + under[at] * (1 - a));
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.unshift(numbers(getComputedStyle(at).backgroundColor));
    return layers.reduce((under, layer) => mix(layer, under), [255, 255, 255]);
  };
  const weak = [], seen = new Set();
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility({visibilityProperty: true})) continue;
    const style = getComputedStyle(element), back = behind(element);
    const front = mix(numbers(element.closest('svg') ? style.fill : style.color), back);
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05), size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    seen.add(element);
    if (ratio < (isLarge ? 3 : 4.5)) weak.push([Math.round(ratio * 100) / 100, text.slice(0, 40), element.className]);
  }
  return {seen: seen.size, weak};
}"""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver, driver.chromium.launch(executable_path=PROGRAM) as started:
        yield started


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """A report with everything that a page can have."""
    folder = tmp_path_factory.mktemp("report")
    before = bed.build(bed.fleet(60))
    hosts = bed.fleet(60)
    hosts["mail3.example.com"]["findings"].append(bed.finding("tls.compression", "/etc/nginx/nginx.conf:3"))
    hosts["mail5.example.com"]["findings"] = []
    hosts["mail7.example.com"] = {"state": "left_out"}
    hosts["fine.example.com"] = bed.fine("fine.example.com")
    hosts["soon.example.com"] = {
        "results": [
            bed.result(certificate=bed.certificate("soon.example.com", 9)),
            bed.result(certificate=bed.certificate("late.example.com", -3)),
        ],
        "updates": bed.updates("eol", "2024-06-30", "support.eol"),
    }
    hosts.update(bed.hostile())
    waivers = [
        {"id": "caa.none", "reason": "The zone moves", "until": "2026-12-31"},
        {"id": "tls.protocol.*", "reason": "Old phones", "until": "2026-10-01"},
    ]
    for place in range(20):
        hosts[f"mail{place}.example.com"].setdefault("findings", []).append(
            bed.finding("certificate.key.owner", f"/etc/ssl/{place}.key", fix=f"chown root /etc/ssl/{place}.key")
        )
    report = bed.build(hosts, json.loads(json.dumps(before)), bed.MOMENT + datetime.timedelta(days=1), waivers=waivers)
    _files.write(str(folder), _files.render(report, ["html"]))
    return f"file://{folder}/index.html"


@pytest.fixture
def visit(browser, address):
    """Opens the page; what the browser said of it and what it asked for has to be nothing at the end."""
    contexts, said, asked = [], [], []

    def opened(width=1440, theme="light", fragment="", **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert {url.partition("#")[0] for url in asked} == {address}


def open_all(page):
    page.evaluate("document.querySelectorAll('details').forEach((element) => { element.open = true; })")


def shown(page, selector):
    return page.locator(selector).filter(visible=True)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_and_can_be_read(visit, width, theme):
    page = visit(width, theme)
    for box in (".by-severity[value=info]", "#by-waived"):
        page.check(box)
    open_all(page)
    overflowing = """() => [...document.querySelectorAll('body *')]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.unseen, thead, .skip'))
        .map((one) => one.outerHTML.slice(0, 80))"""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(overflowing) == []
    page.locator(".places .fix button").first.wait_for()
    covered = """() => [...document.querySelectorAll('.fix')].filter((one) => one.checkVisibility()).map((one) =>
        [one.querySelector('button').getBoundingClientRect(), one.querySelector('pre').getBoundingClientRect()])
        .filter(([a, b]) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom).length"""
    assert page.evaluate(covered) == 0
    # A host's states are in their order, line by line, whether it has a number of open failures or not.
    order = """() => [...document.querySelectorAll('#host-table tbody tr')].filter((row) => {
        const places = [...row.querySelectorAll('.step:not(.open) .sign')].map((one) => one.getBoundingClientRect());
        return places.some((box, at) => at && box.top < places[at - 1].bottom - 5 && box.left < places[at - 1].right);
    }).length"""
    assert page.evaluate(order) == 0
    starts = """() => new Set([...document.querySelectorAll('#host-table tbody tr')].map((row) =>
        Math.round(row.querySelector('.step .narrow, .step .sign').parentElement.getBoundingClientRect().left))).size"""
    assert page.evaluate(starts) == 1
    found = page.evaluate(CONTRAST)
    assert found["seen"] > 1000
    assert found["weak"] == []
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(back[4:].split(",")[0]) > 128) is (theme == "light")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Everything that a page can have, once: what is asked of each element takes its time."""
    folder = tmp_path_factory.mktemp("small")
    key = [
        bed.finding("certificate.key.owner", str(number), fix=f"chown root {number}.key", severity=severity)
        for number, severity in enumerate(["fail", "warn", "unknown", "info"] * 2)
    ]
    hosts = {
        "fine": bed.fine("fine"),
        "key": {**bed.fine("key"), "findings": key},
        "tls": {"results": [bed.result("tls", "B", "tls.compression")], "updates": bed.updates("lts")},
        "left": {"state": "left_out"},
        "lost": {"state": "unreachable", "message": "no route to host"},
        **bed.hostile(),
    }
    waivers = [{"id": "tls.*", "reason": "Old phones", "until": "2026-12-31"}]
    report = bed.build(hosts, bed.build(hosts), bed.MOMENT + datetime.timedelta(days=1), waivers=waivers)
    _files.write(str(folder), _files.render(report, ["html"]))
    return f"file://{folder}/index.html"


@pytest.mark.skipif(Axe is None, reason="axe-playwright-python is not installed")
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing(browser, small, width, theme):
    with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme) as context:
        page = context.new_page()
        page.goto(small)
        page.check("#by-waived")
        open_all(page)
        page.locator(".finding .fix button").first.wait_for()

        def violations():
            found = Axe().run(page).response["violations"]
            return {one["id"]: [node["html"][:200] for node in one["nodes"][:3]] for one in found}

        assert violations() == {}
        # It does look, and finds what is wrong now.
        page.evaluate(
            """(weak) => {
            const step = document.querySelector('#by-step');
            step.closest('label').replaceWith(step);
            document.querySelector('h1').style.color = weak;
        }""",
            {"light": "#999", "dark": "#444"}[theme],
        )
        assert set(violations()) == {"color-contrast", "select-name"}


def test_hostile_text_does_nothing(visit):
    page = visit()
    open_all(page)
    page.wait_for_timeout(200)
    assert page.evaluate("window.hurt") is None
    assert page.locator("img, iframe").count() == 0
    assert page.locator("script").count() == 1


def test_it_is_filtered_by_host_step_and_severity(visit):
    page = visit()
    severities = page.locator(".finding:visible").evaluate_all("all => all.map((one) => one.dataset.severity)")
    assert set(severities) == {"fail", "warn", "unknown"}
    page.check(".by-severity[value=info]")
    page.select_option("#by-step", "3")
    steps = page.locator(".finding:visible").evaluate_all("all => all.map((one) => one.dataset.step)")
    assert set(steps) == {"3"}
    page.select_option("#by-step", "")
    page.fill("#by-host", "mail3.EXAMPLE")
    assert shown(page, "#host-table tbody tr").count() == 1
    open_all(page)
    hosts = page.locator(".finding tbody tr:visible").evaluate_all("all => all.map((one) => one.dataset.host)")
    assert set(hosts) == {"mail3.example.com"}
    assert page.locator("#shown").inner_text().startswith("1 of 63 hosts, ")
    page.fill("#by-host", "nobody")
    assert page.locator("#nothing").is_visible()
    page.click("button[type=reset]")
    playwright.expect(page.locator("#shown")).to_contain_text("63 of 63 hosts")
    assert shown(page, "#host-table tbody tr").count() == 63


def test_a_host_is_followed_to_its_findings_and_back(visit):
    page = visit()
    page.click("#host-table th a:text-is('mail3.example.com')")
    # Links and the reset are followed a moment after the click.
    playwright.expect(page.locator("#by-host")).to_have_value('"mail3.example.com"')
    playwright.expect(shown(page, "#host-table tbody tr")).to_have_count(1)
    page.click("button[type=reset]")
    playwright.expect(page.locator("#shown")).to_contain_text("63 of 63 hosts")
    page.click("#host-table tr[data-host='mail3.example.com'] .first a")
    opened = page.locator(".finding[open]:visible")
    playwright.expect(opened).to_have_count(1)
    assert opened.locator("tbody tr:visible").count() >= 1


def test_what_is_waived_is_shown_on_request(visit):
    page = visit(fragment="#finding=caa.none")
    open_all(page)
    assert shown(page, "[data-waived]").count() == 0
    page.check("#by-waived")
    assert shown(page, ".finding[data-id='caa.none'] [data-waived]").count() >= 1


def test_hosts_are_sorted_by_each_column(visit):
    page = visit()
    names = "all => all.map((row) => row.dataset.host)"
    open_counts = "all => all.map((row) => Number(row.querySelector('.open').dataset.value))"
    rows = page.locator("#host-table tbody tr")
    head = page.locator("#host-table thead th", has_text="Open")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert rows.evaluate_all(open_counts) == sorted(rows.evaluate_all(open_counts))
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert rows.evaluate_all(open_counts) == sorted(rows.evaluate_all(open_counts), reverse=True)
    page.locator("#host-table thead button").first.click()
    found = [name for name in rows.evaluate_all(names) if name.startswith("mail")]
    assert found.index("mail9.example.com") < found.index("mail10.example.com")
    assert page.locator("[aria-sort]").count() == 1


def test_findings_are_sorted(visit):
    page = visit()
    page.select_option("#sort-findings", "hosts")
    numbers = page.locator(".finding").evaluate_all("all => all.map((one) => Number(one.dataset.hosts))")
    assert numbers == sorted(numbers, reverse=True)
    page.select_option("#sort-findings", "rank")
    ranks = page.locator(".finding").evaluate_all("all => all.map((one) => Number(one.dataset.rank))")
    assert ranks == sorted(ranks)


FOCUS = """() => {
  const at = document.activeElement, style = getComputedStyle(at), box = at.getBoundingClientRect();
  return {
    tag: at.tagName.toLowerCase(), id: at.id, text: at.textContent.trim().slice(0, 30),
    outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0, seen: box.width > 0 && box.left >= 0,
  };
}"""


@pytest.mark.parametrize("width", WIDTHS)
def test_everything_is_done_by_keyboard(visit, width):
    page = visit(width)
    seen = []
    for _press in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUS))
        # A table's head is there for programs that read it aloud, and cannot be seen where it is narrow.
        assert seen[-1]["outline"], seen[-1]
    assert seen[0]["text"] == "Skip to the findings"
    assert seen[1]["tag"] == "a" and "Copy" in {one["text"] for one in seen}
    ids = [one["id"] for one in seen]
    assert ids.index("by-step") == ids.index("by-host") + 1
    # What to fix first is short, so what is below it is not far.
    assert ids.index("by-host") < 30
    assert "button" in {one["tag"] for one in seen}
    page.focus("#by-host")
    page.keyboard.type("mail3.")
    assert shown(page, "#host-table tbody tr").count() == 1
    page.locator(".finding:visible summary").first.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".finding[open]")).to_have_count(1)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.finding') !== null")


def pasted(page):
    page.evaluate("""() => { const area = document.createElement('textarea'); area.id = 'paste';
        document.body.append(area); area.focus(); }""")
    page.keyboard.press("Control+V")
    return page.input_value("#paste")


CLIPBOARD = ["clipboard-read", "clipboard-write"]


def test_a_fix_is_copied(visit):
    page = visit(permissions=CLIPBOARD, fragment="#finding=tls.compression")
    block = page.locator(".finding[data-id='tls.compression'] .fix", has_text="Apache")
    button = block.get_by_role("button", name="Copy: Apache")
    button.focus()
    page.keyboard.press("Enter")
    playwright.expect(block.get_by_role("button", name="Copied: Apache")).to_be_focused()
    playwright.expect(page.get_by_role("status").filter(has_text="Copied: Apache")).to_have_count(1)
    assert block.locator("pre").inner_text() == "SSLCompression off"
    # It says so for a moment, and can be used again.
    playwright.expect(button).to_have_text("Copy")
    playwright.expect(page.locator("#said")).to_be_empty()
    assert pasted(page) == "SSLCompression off"


def test_a_fix_is_copied_where_the_clipboard_has_no_interface(visit):
    page = visit(permissions=CLIPBOARD, fragment="#finding=tls.compression")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    block = page.locator(".finding[data-id='tls.compression'] .fix", has_text="Apache")
    block.get_by_role("button").click()
    playwright.expect(page.locator("#said")).to_have_text("Copied: Apache")
    assert pasted(page) == "SSLCompression off"


def test_a_fix_that_cannot_be_copied_is_selected(visit):
    page = visit(fragment="#finding=tls.compression")
    page.evaluate(
        "navigator.clipboard.writeText = () => Promise.reject(new Error()); document.execCommand = () => false"
    )
    block = page.locator(".finding[data-id='tls.compression'] .fix", has_text="Apache")
    block.get_by_role("button").click()
    playwright.expect(page.locator("#said")).to_have_text("Selected, not copied: press Ctrl+C")
    assert page.evaluate("getSelection().toString()") == "SSLCompression off"


def test_what_to_fix_first_is_copied_and_leads_to_its_findings(visit):
    page = visit(permissions=CLIPBOARD)
    first = page.locator("#repairs li").first
    text = first.locator("pre").first.inner_text()
    first.get_by_role("button").first.click()
    playwright.expect(page.locator("#said")).to_contain_text("Copied: ")
    first.locator("a").first.click()
    playwright.expect(page.locator(".finding[open]:visible")).to_have_count(1)
    assert pasted(page) == text
    numbers = page.locator("#repairs .quiet").all_inner_texts()
    failures = [int(words.split()[1]) for words in numbers]
    assert len(failures) == 5 and failures == sorted(failures, reverse=True) and failures[0] > 1


def test_many_places_of_a_finding_are_folded(visit):
    page = visit()
    group = page.locator(".finding[data-id='certificate.key.owner']")
    places = group.locator("tbody tr")
    assert places.count() >= 20
    group.locator(":scope > summary").click()
    playwright.expect(group.locator(".where > summary")).to_have_text(re.compile(r"2\d places on 2\d hosts"))
    assert places.filter(visible=True).count() == 0
    group.locator(".where > summary").press("Enter")
    assert places.filter(visible=True).count() == places.count()
    # Each has a fix of its own, that can be copied.
    own = group.locator("tr[data-host='mail3.example.com'] .fix", has_text="/etc/ssl/3.key")
    playwright.expect(own.get_by_role("button", name="Copy: to do on mail3.example.com")).to_be_visible()
    # Few ones are not folded, nor are those of a host that is looked for.
    few = page.evaluate(
        "[...document.querySelectorAll('.finding')].map("
        "(one) => [one.querySelectorAll('tbody tr').length, Boolean(one.querySelector('.where'))])"
    )
    assert {folded for number, folded in few if number <= _report_html.FOLDED} == {False}
    assert {folded for number, folded in few if number > _report_html.FOLDED} == {True}
    group.locator(".where > summary").click()
    page.fill("#by-host", "mail3.")
    assert places.filter(visible=True).count() == 1


def test_the_history_of_a_host_is_drawn_and_described(visit):
    page = visit()
    words = "2026-11-25 to 2026-11-26: T, failed"
    line = page.locator("tr[data-host='mail3.example.com']").get_by_role("img", name=words, exact=True)
    bars = line.locator("path.fail").evaluate("one => { const box = one.getBBox(); return [box.y, box.height]; }")
    assert bars == [7, 6]
    # A host that was not there before has none.
    assert page.locator("tr[data-host='fine.example.com'] .past svg").count() == 0


@pytest.mark.parametrize("theme", THEMES)
def test_everything_that_is_shown_is_on_paper(visit, theme):
    page = visit(794, theme)
    closed = page.locator(".finding:visible:not([open])").count()
    assert closed > 10
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator(".finding:visible:not([open])").count() == 0
    assert not page.locator("#filter").is_visible()
    # The table is one on A4, and dark letters are on white.
    assert page.locator("#host-table thead th").last.is_visible() and not page.locator(".narrow").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 794
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(CONTRAST)["weak"] == []
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(".finding[open]").count() == 0


def test_without_scripts_it_shows_everything(visit):
    page = visit(java_script_enabled=False)
    assert not page.locator("#filter").is_visible()
    assert shown(page, "#host-table tbody tr").count() == 63
    assert shown(page, ".finding").count() == page.locator(".finding").count() > 30


@pytest.mark.parametrize("what", ["Certificates", "Support of the distributions"])
def test_time_lines_are_drawn_and_described(visit, what):
    page = visit()
    section = page.locator("section", has=page.get_by_role("heading", name=what, exact=True))
    bars = section.locator("li")
    assert bars.count() > 1
    for bar in bars.all():
        drawn = bar.locator("rect").bounding_box()
        frame = bar.locator("svg").bounding_box()
        assert drawn["width"] > 0
        assert frame["x"] - 1 <= drawn["x"] and drawn["x"] + drawn["width"] <= frame["x"] + frame["width"] + 1
        assert bar.locator(".end").inner_text() in bar.locator("svg").get_attribute("aria-label")
    # What has ended is before today.
    late = section.locator("li", has=page.locator("rect.fail")).first
    today = late.locator(".today").evaluate("one => one.getBoundingClientRect().left")
    bar = late.locator("rect").evaluate("one => one.getBoundingClientRect().right")
    assert bar <= today + 3
