"""A client that asks as the dashboard's own pages do, and may sign in."""

import httpx

ORIGIN = "http://dashboard.test"
ASKING = {"Origin": ORIGIN, "X-Holdfast-Dashboard": "1"}


def browser_of(app):
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=ASKING)


async def sign_in(browser, token):
    response = await browser.post("/dashboard/api/session", json={"key": token})
    assert response.status_code == 200, response.text
    return response
