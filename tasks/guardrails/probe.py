"""Probes: read-only looks, shown in the UI as task runs and retried when they fail for a while."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks.guardrails.errors import Transient

P = ParamSpec("P")
R = TypeVar("R")


def is_transient(_task: Any, _run: Any, state: Any) -> bool:  # noqa: ANN401 - Prefect's signature
    """Say whether a task run failed with `Transient`, the only kind that is retried."""
    try:
        state.result(raise_on_failure=True)
    except Transient:
        return True
    except BaseException:  # noqa: BLE001 - whatever it was, it is not ours to retry
        return False
    return False


def probe(look: Callable[P, R]) -> Callable[P, R]:
    """Make a function that only reads a probe.

    In a flow run it is a task run, never cached (the look after a change must not answer
    from before it) and retried on `Transient`; elsewhere (diagnosis without Prefect, unit
    tests) it is called as it is.

    Args:
        look: A function named `inspect_...`, `find_...` or `measure_...`.

    Returns:
        The function, to be called in the same way.
    """
    as_task: Task[P, R] = task(
        name=look.__name__.replace("_", " "),
        task_run_name=look.__name__.replace("_", " "),
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=2,
        retry_delay_seconds=[1, 3],
        retry_jitter_factor=0.5,
        retry_condition_fn=is_transient,
        log_prints=False,
    )(look)

    @functools.wraps(look)
    def look_in_run(*args: P.args, **kwargs: P.kwargs) -> R:
        if FlowRunContext.get() is None:
            return look(*args, **kwargs)
        answer: R = as_task(*args, **kwargs)
        return answer

    return look_in_run
