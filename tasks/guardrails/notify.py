"""One outgoing webhook: a run waits for approval, has ended, or is stuck."""

import logging
from collections.abc import Mapping
from typing import Literal

import httpx
import stamina

from tasks.guardrails.case import Case
from tasks.guardrails.settings import Settings

Happening = Literal["waiting", "ended", "stuck"]
_TIMEOUT_SECONDS = 5.0


def tell(config: Settings, happening: Happening, case: Case, text: str) -> None:
    """Post a JSON message; `text` is what Slack shows, the other fields are for programs.

    A webhook that does not answer holds nothing up: after three tries it is a line in the log.

    Args:
        config: Names the URL; without one nothing is sent.
        happening: What happened.
        case: The remediation.
        text: A sentence for people.
    """
    if not config.webhook_url:
        return
    message = {
        "text": text,
        "event": happening,
        "remediation": case.id,
        "name": case.name,
        "target": case.target,
        "outcome": case.outcome,
        "runs": case.runs,
    }
    try:
        _post(config.webhook_url, message)
    except httpx.HTTPError as error:
        # The error's text may hold the URL, and a webhook's URL is a secret.
        logging.getLogger(__name__).warning(
            "the webhook was not reached for '%s': %s", happening, type(error).__name__
        )


@stamina.retry(on=httpx.HTTPError, attempts=3, timeout=20)
def _post(url: str, message: Mapping[str, object]) -> None:
    httpx.post(url, json=message, timeout=_TIMEOUT_SECONDS).raise_for_status()
