"""Every page as it is seen: in light and dark, on a desk and on a phone, and by axe."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

PAGES = {
    "overview": ("/dashboard", "worker-1"),
    "month": ("/dashboard?span=30d", "worker-1"),
    "jobs": ("/dashboard/jobs", "processing"),
    "failures": ("/dashboard/failures", "provider_unavailable"),
    "queues": ("/dashboard/queues", "paused since"),
    "documents": ("/dashboard/documents", "Drop documents here"),
    "keys": ("/dashboard/keys", "operator"),
}
GRAVE = ("serious", "critical")


@pytest.mark.parametrize(("size", "theme"), [("desktop", "light"), ("desktop", "dark"), ("phone", "light")])
def test_pages_are_shown_and_can_be_used_by_everybody(open_page, url, day, admin_key, shoot, size, theme):
    page = open_page(size=size, theme=theme)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    shoot(page, f"{size}-{theme}-sign-in", whole=False)
    page.get_by_label("API key").fill(admin_key[1])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("navigation")).to_be_visible()
    pages = {**PAGES, "failed-job": (f"/dashboard/jobs/{day.failed}", "attempt 2")}
    for name, (path, seen) in pages.items():
        page.goto(url + path)
        expect(page.get_by_text(seen).first).to_be_attached()
        if size == "phone":
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        shoot(page, f"{size}-{theme}-{name}")
        assert grave_faults(page) == [], name


def grave_faults(page):
    """What axe finds that would keep somebody from using the page."""
    violations = Axe().run(page).response["violations"]
    return [
        (each["id"], node["target"], node["failureSummary"])
        for each in violations
        if each["impact"] in GRAVE
        for node in each["nodes"]
    ]


def test_first_paint_of_ten_thousand_jobs_is_within_a_second(open_page, url, day, admin_key):
    page = open_page(token=admin_key[1])
    page.goto(url + "/dashboard/jobs")
    expect(page.locator("tbody tr")).to_have_count(50)
    painted, filled = page.evaluate(
        """() => [performance.getEntriesByName("first-contentful-paint")[0].startTime, performance.now()]"""
    )
    print(f"first contentful paint after {painted:.0f} ms, the list seen after {filled:.0f} ms")
    assert painted < 1000
