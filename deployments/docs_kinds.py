"""The kinds of change that a flow's plan may hold, found by following its code."""

import inspect
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType

from prefect import Flow, Task

from tasks.guardrails.plan import Change
from tasks.guardrails.registry import Registered
from tasks.guardrails.remediation import Remediation

_FOLLOWED = ("flows.", "tasks.")
_NOT_FOLLOWED = "tasks.guardrails."


def kinds_of_change(flow: Flow[..., object]) -> list[type[Change]]:
    """Find the kinds of change that a remediation may hold in any of its stages.

    The planning functions are followed into the tasks that they use: a change that is
    named on the way may be planned.

    Args:
        flow: The flow.

    Returns:
        The classes in the order of their kinds; none for the engine's own flows, which
        carry out what another remediation planned.
    """
    if not isinstance(flow, Remediation):
        return []
    found: set[type[Change]] = set()
    seen: set[object] = set()
    waiting: list[object] = [flow.planner, *flow.planners.values()]
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, type) and issubclass(thing, Change):
            found |= {thing} if thing.kind else set()
            continue
        if isinstance(thing, type) and issubclass(thing, Registered):
            continue  # checks and limits look; they change nothing
        functions = [function for function in _functions(thing) if function not in seen]
        seen.update(functions)
        for function in functions:
            waiting += _named_in(function)
    return sorted(found, key=lambda change: change.kind)


def _functions(thing: object) -> Iterator[FunctionType]:
    """Give the functions whose code a name of ours stands for."""
    if isinstance(thing, type):
        if _is_ours(thing.__module__):
            for member in vars(thing).values():
                yield from _functions(member)
        return
    unwrapped = _unwrapped(thing)
    if isinstance(unwrapped, FunctionType) and _is_ours(unwrapped.__module__):
        yield unwrapped


def _unwrapped(thing: object) -> object:
    if isinstance(thing, Task):
        thing = thing.fn
    elif isinstance(thing, property):
        thing = thing.fget
    elif isinstance(thing, staticmethod | classmethod):
        thing = thing.__func__
    return inspect.unwrap(thing) if isinstance(thing, Callable) else thing  # type: ignore[arg-type] # mypy: Callable as a class


def _is_ours(module: str) -> bool:
    return module.startswith(_FOLLOWED) and not module.startswith(_NOT_FOLLOWED)


def _named_in(function: FunctionType) -> list[object]:
    """Give what the names in a function's code stand for, also as attributes of modules."""
    names = set(_names(function.__code__))
    found = [function.__globals__[name] for name in names if name in function.__globals__]
    for module in [thing for thing in found if isinstance(thing, ModuleType)]:
        if _is_ours(module.__name__):
            found += [vars(module)[name] for name in names if name in vars(module)]
    return found


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
