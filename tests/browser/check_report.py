#!/usr/bin/env python3
"""Opens a report.html in headless Chromium and checks it as a reader would use it.

    python tests/browser/check_report.py report.html [--screenshots FOLDER]

Checks: no errors in the console, nothing asked of the network, labels for screen readers, keys move and zoom, both themes, no
sideways scrolling on a phone, and that the page is there within two seconds. Prints "SKIPPED: why" and exits with 77 where
the Python package playwright or a Chromium is missing; TACHO_CHROMIUM names another browser than the one on the PATH.
"""

import argparse
import os
import pathlib
import shutil
import sys
import time

SKIPPED = 77
OPENS_WITHIN_S = 2.0
SIZES = {"desktop": (1280, 900, 1, False), "phone": (390, 844, 2, True)}


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(SKIPPED)


def check(condition, what):
    if not condition:
        print(f"FAILED: {what}")
        sys.exit(1)


def chromium():
    named = os.environ.get("TACHO_CHROMIUM")
    found = named or next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    return found or skip("no Chromium on the PATH; install one, or name it in TACHO_CHROMIUM")


def open_page(browser, path, size, theme):
    width, height, scale, mobile = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, device_scale_factor=scale, color_scheme=theme, is_mobile=mobile
    )
    page = context.new_page()
    page.problems, page.asked = [], []
    page.on("console", lambda message: page.problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(path.as_uri(), wait_until="load")
    return page


def labels(page):
    bare = page.evaluate(
        """() => [...document.querySelectorAll('button, figure, section, [tabindex="0"]:not(pre):not(svg)')]
            .filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim()))
            .map(e => e.outerHTML.slice(0, 120))"""
    )
    check(not bare, f"without a name: {bare}")
    for attribute in ("aria-labelledby",):
        lost = page.evaluate(
            f"() => [...document.querySelectorAll('[{attribute}]')].map(e => e.getAttribute('{attribute}'))"
            ".filter(id => !document.getElementById(id))"
        )
        check(not lost, f"{attribute} leads nowhere: {lost}")
    check(page.evaluate("document.documentElement.lang") == "en", "the page says no language")
    check(page.locator("h1").count() == 1, "one h1")


def chart_keys(page):
    figure = page.locator("figure.chart").first
    if figure.count() == 0:
        print("no charts: keys not checked")
        return
    figure.scroll_into_view_if_needed()
    svg = figure.locator(".plot > svg")
    svg.wait_for()
    check("Arrow keys" in svg.get_attribute("aria-label"), "the chart's label does not say what keys do")
    svg.focus()
    page.keyboard.press("ArrowRight")
    tip = page.locator("#tip")
    check(tip.is_visible() and tip.inner_text().strip(), "an arrow key shows no mark")
    check(tip.get_attribute("aria-live") == "polite", "the mark is not told to screen readers")
    first = tip.inner_text()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    marks = page.evaluate("document.querySelectorAll('figure.chart .plot')[0].querySelectorAll('.mark').length")
    check(marks < 2 or tip.inner_text() != first, "arrow keys stay on one mark")
    scale = lambda: figure.locator(".plot > svg text").all_text_contents()
    before = scale()
    page.keyboard.press("+")
    check(scale() != before, "+ does not zoom")
    check(page.evaluate("document.activeElement.tagName") == "svg", "zooming loses the focus")
    page.keyboard.press("0")
    check(scale() == before, "0 does not show all")
    button = figure.locator(".legend button").first
    button.focus()
    page.keyboard.press("Enter")
    check(button.get_attribute("aria-pressed") == "false", "a line cannot be hidden by a key")
    page.keyboard.press("Enter")
    figure.locator("details.data summary").focus()
    page.keyboard.press("Enter")
    figure.locator("details.data td").first.wait_for()
    page.keyboard.press("Enter")


def themes(page):
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    after = page.evaluate("getComputedStyle(document.body).backgroundColor")
    check(before != after, "the theme does not switch")
    page.keyboard.press("Enter")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("report", type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path)
    arguments = parser.parse_args()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        skip("the Python package playwright is not installed")
    path = arguments.report.resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        open_page(browser, path, "desktop", "light").context.close()  # the browser's own start is not the page's
        for size in SIZES:
            for theme in ("light", "dark"):
                start = time.monotonic()
                page = open_page(browser, path, size, theme)
                seconds = time.monotonic() - start
                check(seconds < OPENS_WITHIN_S, f"{size}: the page took {seconds:.2f} s, expected {OPENS_WITHIN_S}")
                shown = page.evaluate("document.documentElement.dataset.theme")
                check(shown == theme, f"asked for {theme}, shown {shown}")
                if arguments.screenshots:
                    arguments.screenshots.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=arguments.screenshots / f"{size}-{theme}.png")
                wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                check(wide <= 0, f"{size}: the page is {wide} pixels wider than the screen")
                labels(page)
                themes(page)
                chart_keys(page)
                # Draws every chart.
                page.evaluate("() => document.querySelectorAll('figure.chart').forEach(f => f.scrollIntoView())")
                page.wait_for_timeout(200)
                check(not page.problems, f"{size}, {theme}: {page.problems}")
                others = [url for url in page.asked if not url.startswith(("file:", "data:"))]
                check(not others, f"asked the network: {others}")
                print(f"{size}, {theme}: ok, opened in {seconds:.2f} s")
                page.context.close()
        browser.close()
    print("report.html: ok")


if __name__ == "__main__":
    main()
