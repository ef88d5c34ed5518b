"""What a person does in the Prefect UI, in a real browser: fill forms in, press, read."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from playwright.sync_api import Locator, Page, ViewportSize, expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
WAIT_SECONDS = 300
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_SIZE: ViewportSize = {"width": 1280, "height": 900}
_SMALL: ViewportSize = {"width": 1366, "height": 768}
_ANSWERS_WITHIN_MS = 60_000


@contextmanager
def browser_page() -> Iterator[Page]:
    """Open a page in a browser of its own, with an empty profile."""
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        page = browser.new_page(viewport=_SIZE)
        page.set_default_timeout(_ANSWERS_WITHIN_MS)
        expect.set_options(timeout=_ANSWERS_WITHIN_MS)
        try:
            yield page
        finally:
            browser.close()


def open_form(page: Page, ui: str, deployment: str) -> None:
    """Go from a deployment's page to the form by which a run of it is started.

    The list of deployments shows ten a page, so that the page is found by its name.

    Args:
        page: The browser's page.
        ui: Address of the UI.
        deployment: Name of the deployment.
    """
    answer = page.request.get(f"{ui}/api/deployments/name/{deployment}/{deployment}")
    page.goto(f"{ui}/deployments/deployment/{answer.json()['id']}")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run", exact=True).click()
    page.get_by_text("Validate parameters").wait_for()


def described_fields(page: Page) -> dict[str, str]:
    """Read the form: each field's name, and its description."""
    return {
        _label(field).inner_text().partition(" ")[0]: field.locator(
            ".schema-form-property__description"
        ).inner_text()
        for field in page.locator(".schema-form-property").all()
    }


def choices(page: Page, name: str) -> list[str]:
    """Read what can be chosen in a field of the form."""
    _open_choices(_field(page, name))
    found = _options(page).all_inner_texts()
    page.keyboard.press("Escape")
    return found


def fill(page: Page, values: Mapping[str, str]) -> None:
    """Fill fields of the form in: type text, or choose one of a list."""
    for name, value in values.items():
        field = _field(page, name)
        if field.locator(".p-select").count():
            _open_choices(field)
            _options(page).get_by_text(value, exact=True).click()
        else:
            field.locator("textarea, input").first.fill(value)


def start_run(page: Page) -> str:
    """Press the form's button, and go to the run that it starts; give its id."""
    with page.expect_response(re.compile("/create_flow_run$")) as made:
        _submit(page)
    run = str(made.value.json()["id"])
    page.locator(f"a[href*='{run}']").first.click()
    page.wait_for_url(re.compile(f"/flow-run/{run}"))
    return run


def submit_in_vain(page: Page) -> str:
    """Press the form's button where it is refused; give what is said of it."""
    _submit(page)
    said = page.get_by_text("Error creating flow run").first
    text = said.inner_text()  # waits for it, and reads it at once
    said.wait_for(state="hidden")  # it goes by itself
    return text


def wait_for_state(page: Page, state: str) -> None:
    """Look at the run's page until it shows a state."""
    expect(_state(page)).to_have_text(state, timeout=WAIT_SECONDS * 1000)


def open_artifact(page: Page, key: str) -> None:
    """Go from the run's page to an artifact, by the beginning of its key."""
    page.locator("li.p-tab#artifacts").click()
    page.get_by_text(key).first.click()
    page.wait_for_url(re.compile(r"/artifacts/"))


def open_resume_form(page: Page) -> str:
    """Press Resume on the run's page; give the text that is shown with the form."""
    page.get_by_role("button", name="Resume", exact=True).first.click()
    _field(page, "comment").wait_for()
    expect(_resume_text(page)).not_to_be_empty()  # it is drawn a moment after the fields
    return _resume_text(page).inner_text()


def sees_at_once(page: Page, words: str) -> bool:
    """Say whether words of the text beside the form are seen in a small window, unscrolled."""
    page.set_viewport_size(_SMALL)
    text = _resume_text(page).bounding_box()
    line = _resume_text(page).get_by_text(words).first.bounding_box()
    page.set_viewport_size(_SIZE)
    assert text
    assert line
    return line["y"] + line["height"] <= text["y"] + text["height"]


def send_resume_form(page: Page) -> None:
    """Press the form's button, and see that the run is taken up."""
    _submit(page)
    expect(page.locator(".p-modal")).to_be_hidden()
    expect(_state(page)).not_to_have_text("Suspended")


def _resume_text(page: Page) -> Locator:
    return page.locator(".p-modal .markdown-renderer").first


def _submit(page: Page) -> None:
    page.get_by_role("button", name="Submit", exact=True).click()


def _state(page: Page) -> Locator:
    return page.locator(".page-heading-flow-run__flow-details .state-badge")


def _open_choices(field: Locator) -> None:
    # A click on the box itself opens the list and closes it again at once.
    field.locator(".p-select-button__icon").click()


def _options(page: Page) -> Locator:
    return page.locator(".p-select-option")


def _field(page: Page, name: str) -> Locator:
    label = re.compile(rf"^{re.escape(name)}( \(Optional\))?$", re.IGNORECASE)
    return page.locator(".schema-form-property").filter(
        has=page.locator(".schema-form-property__label").get_by_text(label)
    )


def _label(field: Locator) -> Locator:
    return field.locator(".schema-form-property__label")
