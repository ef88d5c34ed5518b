"""What a run shows and asks in Prefect: artifacts, progress, and the form that resumes it."""

import contextlib
import contextvars
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import stamina
from httpx import HTTPError, HTTPStatusError
from prefect import runtime
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from pydantic import Field, ValidationError

_PROGRESS_SECONDS = 2.0
_PAGE = 100
UNREACHABLE = (HTTPError, PrefectHTTPStatusError)
SEE_THE_LEDGER = "see the ledger"  # typed by who decided there and wakes the run


class Decision(RunInput):
    """The form in Prefect's UI; without defaults, so that a forced resume decides nothing."""

    approver: str = Field(description="Your name as an approver.")
    code: str = Field(description="The code that your authenticator shows now.")
    # Each description takes a line of what is seen of the plan beside the form.
    decision: Literal["approve", "refuse"]
    comment: str


@dataclass(frozen=True)
class Typed:
    """What came back with a resume: the form's fields, and when it was stored."""

    decision: Decision
    at: datetime


def run_id() -> str:
    """Give the id of the flow run at work."""
    found = flow_run()
    return str(found.id) if found else ""


def flow_run() -> FlowRun | None:
    """Give the flow run at work, as it was on the server when this execution began."""
    context = FlowRunContext.get()
    return context.flow_run if context else None


def run_url() -> str:
    """Give the address of the run's page."""
    return str(runtime.flow_run.ui_url or "")


def log(message: str) -> None:
    """Write a line into the run's log."""
    get_run_logger().info(message)


def show(key: str, markdown: str, description: str) -> None:
    """Put a markdown artifact on the run's page."""
    create_markdown_artifact(key=key, markdown=markdown, description=description)


def show_beside(key: str, markdown: str, description: str) -> None:
    """Put a markdown artifact on the run's page while the run goes on.

    The process does not end before it is there; where it cannot be written, the log says so.
    """

    def write() -> None:
        try:
            show(key, markdown, description)
        except UNREACHABLE as error:
            log(f"{description}: not shown here: {error}")

    here = contextvars.copy_context()
    threading.Thread(target=here.run, args=(write,), name=f"show {key}").start()


def progress(title: str) -> Callable[[float, str], None]:
    """Make a reporter of progress: a bar in the UI, and lines with rate and time left.

    Args:
        title: What makes progress.

    Returns:
        To be called with a fraction from 0 to 1 and a sentence; calls that come close
        together are left out.
    """
    started = time.monotonic()
    shown_at = 0.0
    artifact: UUID | None = None

    here = contextvars.copy_context()  # a change may report from a thread of its own

    def report(fraction: float, detail: str = "") -> None:
        here.copy().run(tell, fraction, detail)

    def tell(fraction: float, detail: str) -> None:
        nonlocal shown_at, artifact
        now = time.monotonic()
        if fraction < 1 and now - shown_at < _PROGRESS_SECONDS:
            return
        shown_at = now
        taken = now - started
        left = f", {taken / fraction - taken:.0f} s left" if 0 < fraction < 1 else ""
        log(f"{title}: {fraction:.0%} after {taken:.0f} s{left}. {detail}".rstrip())
        # What the UI shows must not stop a change that runs.
        with contextlib.suppress(HTTPError):
            if artifact is None:
                made = create_progress_artifact(progress=fraction * 100, description=title)
                artifact = made if isinstance(made, UUID) else None
            else:
                update_progress_artifact(artifact, progress=fraction * 100)

    return report


def wait_for_decision(key: str, description: str, timeout_seconds: int) -> Typed | None:
    """Suspend the run until somebody resumes it, and give what they typed.

    The run's process ends here. When it is resumed, the flow runs again from its top and
    this call, with the same key, returns.

    Args:
        key: Key of this question; letters, digits and dashes.
        description: Markdown that is shown with the form.
        timeout_seconds: When Prefect may give up; the ledger's expiry decides.

    Returns:
        What was typed; None where the run came back without it (a forced state).
    """
    attempt = f"{key}-{runtime.flow_run.run_count}"
    form = Decision.with_initial_data(description=description)
    try:
        typed = suspend_flow_run(wait_for_input=form, key=attempt, timeout=timeout_seconds)
    except (ValidationError, TypeError, json.JSONDecodeError):  # the last two: stored past the form
        return None
    if typed is None:
        return None
    return Typed(typed, _stored_at(f"suspended-{attempt}-response"))


@stamina.retry(on=HTTPStatusError, attempts=5)
def _stored_at(key: str) -> datetime:
    """Give the time of an input by its whole key: any client may store others that begin so."""
    others: set[str] = set()
    with get_client(sync_client=True) as client:
        while found := client.filter_flow_run_input(UUID(run_id()), key, _PAGE, others):
            for one in found:
                if one.key == key and one.created is not None:
                    return datetime.fromisoformat(str(one.created))
            others |= {one.key for one in found}
    return datetime.now(UTC)  # taken away meanwhile: the code has to be good now


def wake(run: str) -> str:
    """Resume a suspended run, so that it looks into the ledger; no code passes Prefect.

    Args:
        run: Id of the flow run.

    Returns:
        '' where it was resumed, else Prefect's reason.
    """
    typed = {
        "approver": SEE_THE_LEDGER,
        "code": "-",
        "decision": "approve",
        "comment": "decided in the ledger",
    }
    with get_client(sync_client=True) as client:
        answer = _resume(client, run, typed)
    if answer.get("status") == "ACCEPT":
        return ""
    details = answer.get("details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return str(reason or json.dumps(answer))


@stamina.retry(on=PrefectHTTPStatusError, attempts=5)
def _resume(client: SyncPrefectClient, run: str, typed: dict[str, str]) -> dict[str, object]:
    response = client.request(
        "POST", "/flow_runs/{id}/resume", path_params={"id": UUID(run)}, json={"run_input": typed}
    )
    answer: dict[str, object] = response.json()
    return answer
