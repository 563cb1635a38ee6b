"""Drives the admin in a chromium, in the theme that ADMIN_THEME names."""

from __future__ import annotations

import os
import re
import secrets
import shutil

import pytest
from django.conf import settings
from playwright.sync_api import Error, expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PASSWORD = secrets.token_urlsafe()
SCHEMES = ("light", "dark")
LOOKS = [(scheme, width) for scheme in SCHEMES for width in (1280, 400)]

#: What every module of tests in the browser is marked with.
MARKS = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        CHROMIUM is None and os.environ.get("REQUIRE_BROWSER") != "1",
        reason="there is no chromium on the PATH",
    ),
]


class Stock:
    """Django's own admin, and what the others have in common with it."""

    navigation = "#nav-sidebar"
    hides_navigation = True  # until it is asked for

    def log_in(self, page):
        page.goto("/admin/")
        page.get_by_label("Username").fill("operator")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/admin/")

    def run(self, page, action):
        """Run an action for the rows that are ticked."""
        page.locator("select[name=action]").select_option(action)
        # Django 6.1 renamed it.
        page.get_by_role("button", name=re.compile("^(Go|Run)$")).click()

    def run_by_keyboard(self, page, action):
        menu = page.locator("select[name=action]")
        tab_to(page, menu)
        page.keyboard.type(menu.locator(f"option[value={action}]").inner_text())
        expect(menu).to_have_value(action)
        press_by_keyboard(page, page.get_by_role("button", name=re.compile("^(Go|Run)$")))

    def filter(self, page, title, choice):
        page.get_by_role("link", name=choice, exact=True).click()

    def submit_search(self, page):
        page.get_by_role("button", name="Search").click()

    def show_group(self, page, name):
        """Show a group of fields, if it is not shown at first."""
        heading = page.get_by_role("heading", name=name)
        if heading.locator("xpath=ancestor::details").count():
            heading.click()

    def toggle_navigation(self, page):
        page.get_by_role("button", name="Toggle navigation").click()

    def show_navigation(self, page):
        """Show the side bar, where there is room for one; it stays for the pages that follow."""
        bar = page.locator(self.navigation)
        if page.viewport_size["width"] > 1000:
            if self.hides_navigation and not bar.is_visible():
                self.toggle_navigation(page)
            expect(bar).to_be_visible()


class Unfold(Stock):
    """django-unfold."""

    hides_navigation = False

    def filter(self, page, title, choice):
        page.locator("a").filter(has_text="Filters").filter(visible=True).first.click()
        super().filter(page, title, choice)

    def submit_search(self, page):
        page.locator("#searchbar-submit").click()

    def toggle_navigation(self, page):
        page.get_by_text("dock_to_right").filter(visible=True).click()


class Jazzmin(Stock):
    """django-jazzmin."""

    navigation = "#jazzy-sidebar"
    hides_navigation = False

    def run_by_keyboard(self, page, action):
        menu = page.locator("select[name=action]")
        press_by_keyboard(page, page.locator(".actions").get_by_role("combobox"))
        page.keyboard.press("ArrowDown")
        while page.locator(".select2-results__option--highlighted").inner_text() != (
            menu.locator(f"option[value={action}]").inner_text()
        ):
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(menu).to_have_value(action)
        press_by_keyboard(page, page.get_by_role("button", name="Go"))

    def filter(self, page, title, choice):
        box = page.locator("#changelist-search .form-group").filter(
            has=page.locator("option", has_text=re.compile(f"^{title}$", re.IGNORECASE))
        )
        box.get_by_role("combobox").click()
        page.get_by_role("option", name=choice, exact=True).click()
        self.submit_search(page)

    def show_group(self, page, name):
        page.get_by_role("tab", name=name).click()

    def toggle_navigation(self, page):
        page.locator("[data-lte-toggle=sidebar]").first.click()


theme = {"stock": Stock, "unfold": Unfold, "jazzmin": Jazzmin}[settings.ADMIN_THEME]()


def see_list(page):
    page.goto("/admin/backups_remote/backup/")
    expect(page.locator("#result_list")).to_be_visible()


def row_of(page, name):
    return page.locator("#result_list tbody tr").filter(has_text=name)


def run(page, action, *names):
    """Run an action of the list for the backups of these names."""
    for name in names:
        tick(page, name)
    theme.run(page, action)


def tick(page, name):
    box = row_of(page, name).get_by_role("checkbox")
    # A bar at the bottom of unfold's list covers the rows below it.
    box.evaluate("box => box.scrollIntoView({block: 'center'})")
    box.check()


def picture(page, path, *, whole=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    page.wait_for_load_state()
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=path, animations="disabled", full_page=whole)
    assert path.stat().st_size > 10_000


def fits(page):
    """Whether nothing but a table's own box has to be scrolled sideways."""
    page.wait_for_load_state()
    try:
        # The themes' scripts may still be at work on the page.
        page.wait_for_function(
            "document.scrollingElement.scrollWidth <= document.scrollingElement.clientWidth",
            timeout=2_000,
        )
    except Error:
        return False
    return True


def tab_to(page, target):
    """Press Tab until ``target`` has the focus."""
    element = target.element_handle()
    for _ in range(250):
        if page.evaluate("target => document.activeElement === target", element):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {element.evaluate('target => target.outerHTML')}")


def press_by_keyboard(page, target, key="Enter"):
    tab_to(page, target)
    page.keyboard.press(key)
