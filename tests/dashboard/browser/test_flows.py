"""What people do with the dashboard, in a real browser."""

import json
import re
import shlex
from itertools import count

import pytest
from playwright.sync_api import expect
from sqlalchemy import func, select

from factories import job_row, make_job, make_owner, queue_job, start_job
from holdfast import JobContext
from holdfast.jobs import events, queues, store
from holdfast.jobs.events import LiveEvent
from holdfast.jobs.models import ApiKey, Job
from holdfast.states import JobStatus
from holdfast.testing import run_job
from waiting import wait_for

HOSTILE = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'


def take_password(job: JobContext, password: str) -> None:
    """What is retried here is not run."""


@pytest.fixture
def page(open_page, admin_key):
    return open_page(token=admin_key[1])


def test_a_key_without_a_role_is_told_so_and_another_signs_in_and_out(open_page, make_key, admin_key):
    page = open_page()
    for token, said in (("hf_00000000_no", "unknown"), (make_key()[1], "needs a key with the scope")):
        page.get_by_label("API key").fill(token)
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text(said)
    page.get_by_label("API key").fill(admin_key[1])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert page.evaluate("document.cookie") == ""
    page.reload()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_the_list_moves_by_itself_and_leaves_alone_what_has_not_changed(page, url, session):
    kept = queue_job(session, task="kept")
    changed = start_job(session, task="changed")
    page.goto(url + "/dashboard/jobs")
    row = page.locator(f"tr[data-id='{kept}']")
    expect(row).to_contain_text("queued")
    row.evaluate("row => { row.mark = 1 }")
    page.locator(f"tr[data-id='{changed.id}'] a").focus()
    store.complete(session, changed, 1, None)
    session.commit()
    newest = queue_job(session, task="newest")
    expect(page.locator(f"tr[data-id='{changed.id}']")).to_contain_text("completed")
    expect(page.locator("tbody tr").first).to_have_attribute("data-id", str(newest))
    assert row.evaluate("row => row.mark") == 1
    assert page.evaluate("document.activeElement.closest('tr').dataset.id") == str(changed.id)


def test_filters_are_the_address_and_come_back_with_it(page, url, session):
    wanted = make_job(session, JobStatus.FAILED, task="summarize")
    make_job(session, JobStatus.COMPLETED, task="summarize")
    make_job(session, JobStatus.FAILED, task="notify")
    page.goto(url + "/dashboard/jobs")
    page.get_by_label("Status").select_option("failed")
    page.get_by_label("Task", exact=True).fill("summarize")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page).to_have_url(re.compile(r"\?status=failed&task=summarize$"))
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_label("Task", exact=True)).to_have_value("summarize")
    page.get_by_role("link", name=str(wanted.id)[:8]).click()
    expect(page.get_by_role("heading", name="summarize")).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Status")).to_have_value("failed")


def test_a_job_is_followed_to_its_end_and_retried(page, url, holdfast, session):
    holdfast.task(name="work")(take_password)
    claim = start_job(session, args={"password": "kelp"})
    page.goto(f"{url}/dashboard/jobs/{claim.id}")
    expect(page.get_by_text("processing", exact=True).first).to_be_visible()
    assert "kelp" not in page.content()
    page.get_by_role("button", name="Show the arguments").click()
    expect(page.get_by_text('"password": "kelp"')).to_be_visible()
    store.fail(session, claim, {"code": "no_luck", "message": "It broke."}, None, traceback="Traceback: here")
    session.commit()
    expect(page.get_by_text("It broke.").first).to_be_visible()
    page.get_by_text("Stack").click()
    expect(page.get_by_text("Traceback: here")).to_be_visible()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Retries")).to_be_visible()
    assert session.scalar(select(func.count()).select_from(Job).where(Job.retry_of == claim.id)) == 1


def test_what_a_job_streams_is_shown_as_it_comes_and_as_text(page, url, session):
    claim = start_job(session)
    told = [
        ("snapshot", {}),
        ("job.started", {"attempt": 1}),
        ("output.delta", {"text": "Kelp "}),
        ("output.delta", {"text": HOSTILE}),
        ("usage", {"input_tokens": 7}),
        ("page.read", {"page": HOSTILE}),
        ("job.completed", {}),
    ]
    frames = "".join(f"event: {name}\ndata: {json.dumps(data)}\n\n" for name, data in told)
    page.route("**/events", lambda route: route.fulfill(content_type="text/event-stream", body=frames))
    page.goto(f"{url}/dashboard/jobs/{claim.id}")
    expect(page.locator("pre.stream")).to_have_text("Kelp " + HOSTILE)
    expect(page.locator(".events")).to_contain_text('{"input_tokens": 7}')
    expect(page.locator(".events")).to_contain_text(json.dumps({"page": HOSTILE}))
    assert page.locator("main img, main script").count() == 0


def test_events_of_any_name_are_shown_as_text(page, url, session, holdfast):
    claim = start_job(session)
    # Once its stream has begun, what is said is told.
    with page.expect_response("**/events"):
        page.goto(f"{url}/dashboard/jobs/{claim.id}")
    numbers = count(1)
    for name, data in (
        ("page.read", {"page": 7}),
        ("close", {"said": HOSTILE}),
        ("a-b_c.9", {"x": "y" * 9_000}),
    ):
        holdfast.events.emit(LiveEvent(claim, numbers, name, data, events.encode_data(data)))
        expect(page.locator(".events")).to_contain_text(name)
    expect(page.locator(".events")).to_contain_text('{"page":7}')
    expect(page.locator(".events")).to_contain_text(json.dumps(HOSTILE)[1:-1])
    assert len(page.locator(".events").inner_text()) < 4_000
    assert page.locator("main img, main script").count() == 0
    assert page.title() != "owned"


def test_a_stream_that_breaks_off_goes_on_after_the_last_event(page, url, session):
    claim = start_job(session)
    asked = []

    def answer(route):
        asked.append(route.request.headers.get("last-event-id"))
        if len(asked) == 2:
            route.fulfill(status=503)
        else:
            body = (
                f': goes on\n\nid: {len(asked)}\nevent: page.read\ndata: {{"page":{len(asked)}}}\n\nid: 9\nev'
            )
            route.fulfill(content_type="text/event-stream", body=body)

    page.route("**/events", answer)
    page.goto(f"{url}/dashboard/jobs/{claim.id}")
    expect(page.locator(".events")).to_contain_text('{"page":3}', timeout=15_000)
    assert asked[:3] == [None, "1", "1"]


def test_a_job_is_copied_as_the_command_that_asks_for_it(page, url, session):
    job_id = queue_job(session, task="summarize", args={"text": "it's kelp"})
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{url}/dashboard/jobs/{job_id}")
    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_text("Copied the command")).to_be_visible()
    command = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert json.loads(command[command.index("-d") + 1]) == {
        "task": "summarize",
        "args": {"text": "it's kelp"},
        "priority": 5,
    }
    assert command[-1] == f"{url}/v1/jobs"


def test_a_job_is_cancelled_when_that_is_confirmed(page, url, session):
    job_id = queue_job(session)
    page.goto(f"{url}/dashboard/jobs/{job_id}")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Leave it").click()
    assert job_row(session, job_id)["status"] == "queued"
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the job").click()
    expect(page.get_by_text("cancelled", exact=True).first).to_be_visible()
    assert job_row(session, job_id)["status"] == "cancelled"


def test_all_that_failed_alike_is_retried(page, url, holdfast, session):
    holdfast.task(name="work")(lambda job: None)
    for _ in range(30):
        make_job(session, JobStatus.FAILED)
    page.goto(url + "/dashboard/failures")
    page.get_by_role("button", name="Retry all").click()
    expect(page.get_by_role("heading", name="Retry 30 failed jobs?")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Retry all").click()
    expect(page.get_by_text("30 jobs retried.")).to_be_visible()
    expect(page.get_by_text("all retried")).to_be_visible()
    assert session.scalar(select(func.count()).select_from(Job).where(Job.retry_of.is_not(None))) == 30


def test_a_queue_is_paused_and_resumed(page, url, session):
    queue_job(session, queue="fast")
    page.goto(url + "/dashboard/queues")
    page.get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    expect(page.get_by_text("paused since")).to_be_visible()
    session.rollback()
    assert queues.paused_queues(session) == {"fast"}
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    session.rollback()
    assert queues.paused_queues(session) == set()


def test_documents_are_dropped_ingested_and_found(page, url, holdfast, session, shoot):
    page.goto(url + "/dashboard/documents")
    drop = """box => {
        const files = new DataTransfer();
        const text = "# Kelp\\n\\nHoldfasts anchor the growing kelp to the rock, through every storm.";
        files.items.add(new File([text], "kelp <b>forests.md"));
        files.items.add(new File(["nothing"], "picture.png"));
        box.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
    }"""
    page.locator(".drop").evaluate(drop)
    expect(page.get_by_text("Files that can be ingested:")).to_be_visible()
    ingestion = select(Job.id).where(Job.task == "ingest_document")
    wait_for(lambda: session.rollback() or session.scalar(ingestion), "the upload's job")
    assert run_job(holdfast, session.scalar(ingestion)).status == "completed"
    expect(page.get_by_text("searchable")).to_be_visible()
    expect(page.get_by_role("cell", name="kelp <b>forests.md").last).to_be_visible()
    page.get_by_label("Search").fill("what anchors kelp")
    page.keyboard.press("Enter")
    expect(page.locator("mark").first).to_be_visible()
    assert {"anchor", "kelp"} <= {text.lower() for text in page.locator("mark").all_inner_texts()}
    shoot(page, "desktop-light-documents-found")
    page.get_by_role("button", name="Delete kelp").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("There is no document yet.")).to_be_visible()


def test_a_key_is_made_shown_once_and_revoked(page, url, session):
    page.goto(url + "/dashboard/keys")
    page.get_by_label("Name").fill("billing")
    page.get_by_role("button", name="Make a key").click()
    token = page.locator("pre.token").inner_text()
    assert token.startswith("hf_")
    page.get_by_role("button", name="I have it").click()
    expect(page.get_by_role("link", name="billing")).to_be_visible()
    assert token not in page.content()
    page.get_by_role("button", name="Revoke the key of billing").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(
        page.get_by_text("revoked now").or_(page.get_by_text(re.compile("revoked .* ago")))
    ).to_be_visible()
    assert session.scalar(select(ApiKey.revoked_at).where(ApiKey.name == "billing")) is not None


def test_a_viewer_is_offered_nothing_that_changes_anything(open_page, url, make_key, session):
    job_id = queue_job(session)
    make_job(session, JobStatus.FAILED)
    page = open_page(token=make_key("onlooker", "viewer")[1])
    for path, seen in (
        (f"jobs/{job_id}", "Shown to the scope admin."),
        ("failures", "task_error"),
        ("queues", "default"),
        ("documents", "There is no document yet."),
        ("keys", "onlooker"),
    ):
        page.goto(f"{url}/dashboard/{path}")
        expect(page.get_by_text(seen).first).to_be_visible()
        names = page.locator("main button").all_inner_texts()
        assert {name for name in names if name} <= {"Copy as curl", "Copy id", "Search", "Older"}, path


def test_markup_in_what_users_give_is_shown_as_text(page, url, session, admin_key):
    owner = make_owner(session, HOSTILE)[0]
    claim = start_job(
        session, owner_id=owner.id, task=HOSTILE, queue="q" + HOSTILE[:20], args={HOSTILE: HOSTILE}
    )
    running = start_job(session, task="running", metadata={HOSTILE: HOSTILE})
    progress = {"current": 1, "total": 2, "message": HOSTILE}
    store.save_progress(session, {(running.id, 1): progress})
    error = {"code": HOSTILE, "message": HOSTILE, "stage": HOSTILE}
    store.fail(session, claim, error, None, traceback=HOSTILE)
    session.commit()
    paths = ("", "/jobs", f"/jobs/{claim.id}", f"/jobs/{running.id}", "/failures", "/queues", "/keys")
    for path in paths:
        page.goto(f"{url}/dashboard{path}")
        expect(page.locator(".live, h1").first).to_be_visible()
        if path not in ("", "/queues"):
            expect(page.get_by_text('<img src=x onerror="document').first).to_be_attached()
        assert page.locator("main img, main script").count() == 0
        assert page.title() != "owned"
    page.goto(f"{url}/dashboard/jobs/{claim.id}")
    page.get_by_role("button", name="Show the arguments").click()
    expect(page.get_by_text("<img src=x").last).to_be_visible()
    assert page.locator("main img, main script").count() == 0


def test_the_keyboard_is_enough(page, url, session):
    ids = [queue_job(session) for _ in range(3)]
    page.keyboard.press("g")
    page.keyboard.press("j")
    expect(page.get_by_role("heading", name="Jobs")).to_be_visible()
    expect(page.locator("tbody tr")).to_have_count(3)
    for key in "jjk":
        page.keyboard.press(key)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(str(ids[1])))
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
