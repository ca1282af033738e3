# Copyright: Contributors to the kopano.hardening project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's page in a real browser: narrow and wide, light and dark, by keyboard, on paper, and without scripts."""

from __future__ import annotations

import datetime
import json
import shutil

import pytest

from ansible_collections.kopano.hardening.plugins.plugin_utils._report import files as _files

from . import report_bed as bed

playwright = pytest.importorskip("playwright.sync_api")
PROGRAM = next(filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None)
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is here")

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
    found = page.evaluate(CONTRAST)
    assert found["seen"] > 1000
    assert found["weak"] == []
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(back[4:].split(",")[0]) > 128) is (theme == "light")


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
    for _press in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUS))
        # A table's head is there for programs that read it aloud, and cannot be seen where it is narrow.
        assert seen[-1]["outline"], seen[-1]
    assert seen[0]["text"] == "Skip to the findings"
    assert [one["id"] for one in seen[1:3]] == ["by-host", "by-step"]
    assert "button" in {one["tag"] for one in seen}
    page.focus("#by-host")
    page.keyboard.type("mail3.")
    assert shown(page, "#host-table tbody tr").count() == 1
    page.locator(".finding:visible summary").first.focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator(".finding[open]")).to_have_count(1)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('.finding') !== null")


def test_a_fix_is_copied(visit):
    page = visit(permissions=["clipboard-read", "clipboard-write"], fragment="#finding=tls.compression")
    block = page.locator(".finding[data-id='tls.compression'] .fix", has_text="Apache")
    block.get_by_role("button").click()
    page.wait_for_selector("button:text-is('Copied')")
    assert block.locator("pre").inner_text() == "SSLCompression off"
    page.evaluate("""() => { const area = document.createElement('textarea'); area.id = 'paste';
        document.body.append(area); area.focus(); }""")
    page.keyboard.press("Control+V")
    assert page.input_value("#paste") == "SSLCompression off"


def test_everything_that_is_shown_is_on_paper(visit):
    page = visit()
    closed = page.locator(".finding:visible:not([open])").count()
    assert closed > 10
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator(".finding:visible:not([open])").count() == 0
    assert not page.locator("#filter").is_visible()
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
