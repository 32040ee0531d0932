#!/usr/bin/env python3
"""Opens a report.html in headless Chromium and checks it as a reader would use it.

    python3 tests/browser/check_report.py report.html [--screenshots FOLDER] [--reference FOLDER [--accept]]

Checks, on a desktop and a phone, light and dark: no errors in the console, nothing asked of the network, every control has a name
that a screen reader tells and can be reached with the Tab key, arrow keys move and zoom, no sideways scrolling, and that the
page's thread computes for less than two seconds to open it (of its own time: other work on the machine does not count; the time
that passed is printed beside it). With --reference the first screen and the charts are held against the pictures in that folder, as
pictures.py says; --accept makes them anew.

Prints "SKIPPED: why" and exits with 77 where there is no Chromium; TACHO_CHROMIUM names another one than that on the PATH.
"""

import argparse
import pathlib
import sys
import tempfile

import pictures
from devtools import Browser, BrowserError, Page, find

SKIPPED = 77
OPENS_WITHIN_S = 2.0
SIZES = {"desktop": (1280, 900, 1, False), "phone": (390, 844, 2, True)}
CONTROLS = "[...document.querySelectorAll('a[href], button, summary, [tabindex=\"0\"]')].filter(e => e.checkVisibility())"


def check(condition, what):
    if not condition:
        print(f"FAILED: {what}")
        sys.exit(1)


def draw_all(page):
    """Charts are drawn when they come near the screen."""
    page.js(
        """(async () => {
            for (const figure of document.querySelectorAll('figure.chart')) {
                figure.scrollIntoView({behavior: 'instant'});
                while (!figure.querySelector('.plot > svg')) await new Promise(requestAnimationFrame);
            }
            scrollTo({top: 0, behavior: 'instant'});
        })()"""
    )


def labels(page):
    """What a screen reader is told, by the browser's own accessibility tree."""
    nodes = page.accessible()
    role = lambda node: node.get("role", {}).get("value")
    name = lambda node: (node.get("name", {}).get("value") or "").strip()
    of = lambda node, wanted: next((p["value"].get("value") for p in node.get("properties", []) if p["name"] == wanted), None)
    text = {"StaticText", "InlineTextBox", "RootWebArea", "generic"}
    bare = [role(node) for node in nodes if of(node, "focusable") and not name(node) and role(node) not in text]
    check(not bare, f"controls without a name: {bare}")
    for landmark in ("banner", "main", "contentinfo"):
        check(sum(role(node) == landmark for node in nodes) == 1, f"expected one landmark '{landmark}'")
    levels = [of(node, "level") for node in nodes if role(node) == "heading"]
    check(levels.count(1) == 1 and levels[0] == 1, f"expected one heading of level 1, and that first: {levels}")
    skips = [(above, below) for above, below in zip(levels, levels[1:]) if below > above + 1]
    check(not skips, f"headings skip a level: {skips}")
    drawn = page.js("document.querySelectorAll('.plot > svg').length")
    charts = [name(node) for node in nodes if role(node) == "application"]
    check(len(charts) == drawn and all("Arrow keys" in it for it in charts), f"{drawn} charts, and the labels {charts}")
    tables = page.js("document.querySelectorAll('table').length")
    heads = page.js("[...document.querySelectorAll('table')].filter(t => t.querySelector('th[scope=col]')).length")
    check(tables == heads, f"{tables - heads} tables without column headings")
    lost = page.js(
        "[...document.querySelectorAll('[aria-labelledby]')].map(e => e.getAttribute('aria-labelledby'))"
        ".filter(id => !document.getElementById(id))"
    )
    check(not lost, f"aria-labelledby leads nowhere: {lost}")
    check(page.js("document.documentElement.lang") == "en", "the page says no language")


def reachable(page):
    """Every control that can be seen has its turn with the Tab key, and shows that it has."""
    count = page.js(f"(window.controls = {CONTROLS}).length")
    page.js("document.activeElement.blur(); scrollTo(0, 0)")
    reached = set()
    for _ in range(count + 2):
        page.press("Tab")
        at = page.js("controls.indexOf(document.activeElement)")
        outline = page.js("getComputedStyle(document.activeElement).outlineStyle")
        check(at < 0 or outline != "none", "a control has no outline when it has the focus")
        reached.add(at)
    missed = page.js(f"controls.filter((_, i) => !{sorted(reached)}.includes(i)).map(e => e.outerHTML.slice(0, 100))")
    check(not missed, f"the Tab key does not reach {missed}")


def chart_keys(page):
    if not page.js("document.querySelector('figure.chart') !== null"):
        print("no charts: keys not checked")
        return
    # Scrolling hides the mark's text: it must have come to its end.
    page.js(
        """(async () => {
            window.figure = document.querySelector('figure.chart');
            figure.scrollIntoView({behavior: 'instant'});
            for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
            figure.querySelector('.plot > svg').focus({preventScroll: true});
        })()"""
    )
    tip = lambda: page.js("document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent")
    scale = lambda: page.js("[...figure.querySelectorAll('.plot > svg text')].map(e => e.textContent)")
    page.press("ArrowRight")
    first = tip()
    check(first.strip(), "an arrow key shows no mark")
    check(page.js("document.getElementById('tip').ariaLive") == "polite", "the mark is not told to screen readers")
    page.press("ArrowRight")
    page.press("End")
    check(page.js("figure.querySelectorAll('.plot .mark').length") < 2 or tip() != first, "arrow keys stay on one mark")
    before = scale()
    page.press("+")
    check(scale() != before, "+ does not zoom")
    check(page.js("document.activeElement.tagName") == "svg", "zooming loses the focus")
    page.press("0")
    check(scale() == before, "0 does not show all")
    page.press("Escape")
    pressed = lambda: page.js("figure.querySelector('.legend button').getAttribute('aria-pressed')")
    page.js("figure.querySelector('.legend button').focus()")
    page.press("Enter")
    check(pressed() == "false", "a line cannot be hidden by a key")
    page.press("Enter")
    check(pressed() == "true", "a line cannot be shown again by a key")
    page.js("figure.querySelector('details.data summary').focus()")
    page.press("Enter")
    page.js("new Promise(requestAnimationFrame)")
    check(page.js("figure.querySelectorAll('details.data td').length") > 0, "a chart's data cannot be opened by a key")
    page.press("Enter")


def invalid_marks(page):
    """A point that is not to be believed has a cross and says why, in every chart that shows it."""
    wrong = page.js(
        """JSON.parse(document.getElementById('data').textContent).filter(chart => {
            const figure = document.getElementById('chart-' + chart.id);
            const dots = chart.series.filter(s => ['joined', 'dots', 'stacked'].includes(s.mark)).flatMap(s => s.dots);
            const invalid = dots.filter(d => d[6] !== undefined);
            return figure.querySelectorAll('.plot .cross').length !== invalid.length || invalid.some(d => !chart.invalid[d[6]]);
        }).map(chart => chart.id)"""
    )
    check(not wrong, f"invalid points are not crossed out, or not with a reason: {wrong}")


def themes(page):
    colour = lambda: page.js("getComputedStyle(document.body).backgroundColor")
    before = colour()
    page.js("document.getElementById('theme').focus()")
    page.press("Enter")
    check(before != colour(), "the theme does not switch")
    page.press("Enter")
    check(before == colour(), "the theme does not switch back")


def compare(page, eyes, name, arguments):
    """Holds the first screen and the charts against the committed pictures."""
    page.js(pictures.ONE_FONT)
    for part, place in (("first", "0"), ("charts", "document.getElementById('charts').offsetTop")):
        page.js(f"scrollTo({{top: {place}, behavior: 'instant'}}); new Promise(requestAnimationFrame)")
        png = page.screenshot()
        path = arguments.reference / f"{name}-{part}.png"
        if arguments.accept:
            eyes.accept()
            path.write_bytes(eyes.shrunk(png))
            continue
        check(path.is_file(), f"no {path}: make it with --accept")
        differing = eyes.differing(png, path.read_bytes())
        if isinstance(differing, str) or differing > eyes.limit:
            seen = pathlib.Path(tempfile.mkdtemp(prefix="tacho-report-")) / path.name
            seen.write_bytes(eyes.shrunk(png))
            said = differing if isinstance(differing, str) else f"{differing:.2%} of its pixels differ"
            check(False, f"{path}: {said}, expected at most {eyes.limit:.2%}; seen: {seen}. If it is meant: --accept")
        print(f"{path.name}: {differing:.2%} of its pixels differ")


def examine(browser, url, size, theme, eyes, arguments):
    page = Page(browser, url, *SIZES[size], theme=theme)
    busy = page.busy_s()
    check(busy < OPENS_WITHIN_S, f"{size}: opening took {busy:.2f} s of the page's thread, expected {OPENS_WITHIN_S}")
    shown = page.js("document.documentElement.dataset.theme")
    check(shown == theme, f"asked for {theme}, shown {shown}")
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
        (arguments.screenshots / f"{size}-{theme}.png").write_bytes(page.screenshot())
    wide = page.js("document.documentElement.scrollWidth - innerWidth")
    check(wide <= 0, f"{size}: the page is {wide} pixels wider than the screen")
    draw_all(page)
    if eyes:
        compare(page, eyes, f"{size}-{theme}", arguments)
    labels(page)
    reachable(page)
    themes(page)
    chart_keys(page)
    invalid_marks(page)
    check(not page.problems(), f"{size}, {theme}: {page.problems()}")
    others = [url for url in page.asked() if not url.startswith(("file:", "data:"))]
    check(not others, f"asked the network: {others}")
    print(f"{size}, {theme}: ok, opened in {page.opened_in_s:.2f} s, of which the page computed {busy:.2f} s")
    page.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path)
    parser.add_argument("--reference", type=pathlib.Path)
    parser.add_argument("--accept", action="store_true")
    arguments = parser.parse_args()
    program = find()
    if not program:
        print("SKIPPED: no Chromium on the PATH; install one, or name it in TACHO_CHROMIUM")
        sys.exit(SKIPPED)
    url = arguments.report.resolve().as_uri()
    with Browser(program) as browser:
        print(browser.version())
        Page(browser, url, *SIZES["desktop"]).close()  # the browser's own start is not the page's
        blank, eyes = Page(browser, "about:blank", 100, 100), None
        if arguments.reference and blank.js(pictures.HAS_FONT):
            eyes = pictures.Pictures(blank, arguments.reference, browser.version())
        elif arguments.reference:
            print(f"NOT COMPARED: the pictures are in {pictures.FONT}, which this machine has not")
        for size in SIZES:
            for theme in ("light", "dark"):
                examine(browser, url, size, theme, eyes, arguments)
    print("report.html: ok")


if __name__ == "__main__":
    try:
        main()
    except BrowserError as error:
        print(f"FAILED: {error}")
        sys.exit(1)
