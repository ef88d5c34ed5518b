"""A page for each flow, from its docstring and its parameters, and their index."""

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from prefect import Flow
from prefect.utilities.callables import parameter_schema

from deployments.docs_guide import Solution
from deployments.docs_kinds import kinds_of_change
from flows.catalogue import guide_of, section_of
from tasks.guardrails.plan import Change

AnyFlow = Flow[..., Any]
_REVERTS = {
    "exact": "taken back exactly",
    "pointless": "stays: taking it back would serve nothing",
    "impossible": "cannot be taken back",
}


def carried_out(flows: Mapping[str, AnyFlow]) -> dict[str, list[str]]:
    """Give the remediations by the part of the guide that they carry out."""
    found: dict[str, list[str]] = {}
    for name, flow in flows.items():
        if guide_of(flow):
            found.setdefault(guide_of(flow), []).append(name)
    return found


def sections_of(doc: str) -> dict[str, str]:
    """Split a docstring into its sections.

    Args:
        doc: A docstring as `inspect.getdoc` gives it.

    Returns:
        The text by the section's name, without indentation; what stands before the first
        section under ''.
    """
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in doc.splitlines():
        if heading := re.fullmatch(r"([A-Z]\w+):", line):
            name = heading[1]
            found[name] = []
        else:
            found[name].append(line)
    return {key: inspect.cleandoc("\n".join(["", *lines])).strip() for key, lines in found.items()}


def description(flow: AnyFlow) -> str:
    """Say what a flow does as its deployment's page in Prefect shows it.

    Args:
        flow: The flow.

    Returns:
        Markdown of its docstring; its parameters are described in the form.
    """
    sections = sections_of(inspect.getdoc(flow.fn) or "")
    parts = [sections[""], *(f"**{one}:** {sections[one]}" for one in ("Changes", "Undo"))]
    return re.sub(r"(?<=\S)\n(?=\w)", " ", "\n\n".join(parts))  # Prefect keeps line breaks


def page(name: str, flow: AnyFlow, solutions: Iterable[Solution]) -> str:
    """Write the page of a flow.

    Args:
        name: Name of its file and function.
        flow: The flow.
        solutions: The guide's.

    Returns:
        Markdown.
    """
    sections = sections_of(inspect.getdoc(flow.fn) or "")
    parts = [f"# {name}", _where(flow, solutions), sections[""]]
    parts += ["## Parameters", _parameters(flow)]
    parts += ["## What it changes", sections.get("Changes", "")]
    changes = kinds_of_change(flow)
    if changes:
        parts.append("Its plans may hold these kinds of change, and no others:")
        parts.append(_kinds(changes))
    parts += ["## How it is undone", sections.get("Undo", "")]
    if "Returns" in sections:
        parts += ["## What it gives", sections["Returns"]]
    return "\n\n".join(part for part in parts if part) + "\n"


def _where(flow: AnyFlow, solutions: Iterable[Solution]) -> str:
    guide = guide_of(flow)
    deployment = f"Deployment `{flow.name}/{flow.name}`."
    if not guide:
        return f"{deployment} It serves the engine, not a part of the guide."
    place = next((one for one in solutions if one.path == guide), None)
    part = f"[{guide}](../{place.link})" if place else guide
    return f"{deployment} Carries out the guide's {part}."


def _parameters(flow: AnyFlow) -> str:
    schema = parameter_schema(flow.fn).model_dump()
    if not schema["properties"]:
        return "None."
    lines = ["| Name | Values | Default | Meaning |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        default = "required" if name in schema["required"] else f"`{_json(field.get('default'))}`"
        meaning = _in_cell(str(field.get("description", "")))
        values = _in_cell(_values(field, schema["definitions"]))
        lines.append(f"| `{name}` | {values} | {default} | {meaning} |")
    return "\n".join(lines)


def _values(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Say what a parameter may be: its type, its choices, its bounds."""
    if reference := field.get("$ref") or next(
        (one["$ref"] for one in field.get("allOf", ()) if "$ref" in one), None
    ):
        return _values(definitions[reference.rpartition("/")[2]], definitions)
    if "enum" in field:
        return ", ".join(f"`{_json(value)}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_values(one, definitions) for one in field["anyOf"])
    text = str(field.get("format") or field.get("type") or "anything")
    if text == "array":
        text = f"list of {_values(field.get('items', {}), definitions)}"
    words = {"minimum": "at least", "maximum": "at most", "pattern": "as"}
    bounds = [f"{say} `{field[key]}`" for key, say in words.items() if key in field]
    return ", ".join([text, *bounds])


def _json(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return f'"{value}"' if isinstance(value, str) else str(value)


def _in_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _kinds(changes: Iterable[type[Change]]) -> str:
    lines = ["| Kind | What it does | Undo | Permissions |", "|---|---|---|---|"]
    for change in changes:
        first = (inspect.getdoc(change) or "").split("\n\n")[0]
        undo = _REVERTS[change.reverts] + change.but
        undo += "; done at most once" if change.at_most_once else ""
        permissions = ", ".join(f"`{one}`" for one in change.permissions) or "none of its own"
        lines.append(f"| `{change.kind}` | {_in_cell(first)} | {undo} | {_in_cell(permissions)} |")
    return "\n".join(lines)


def index(flows: Mapping[str, AnyFlow], solutions: list[Solution]) -> str:
    """Write the index of the flows, with the coverage of the guide.

    Args:
        flows: All flows by name.
        solutions: The guide's.

    Returns:
        Markdown.
    """
    lines = ["# Remediations", ""]
    by_section: dict[str, list[str]] = {}
    for name, flow in flows.items():
        by_section.setdefault(section_of(flow), []).append(name)
    for section, names in sorted(by_section.items()):
        lines += [f"## {section.capitalize()}", "", "| Name | What it does |", "|---|---|"]
        for name in names:
            summary = sections_of(inspect.getdoc(flows[name].fn) or "")[""].split("\n\n")[0]
            lines.append(f"| [{name}]({name}.md) | {_in_cell(summary)} |")
        lines.append("")
    parts = carried_out(flows)
    missing = [one for one in solutions if one.path not in parts]
    done = len(solutions) - len(missing)
    coverage = f"{done} of the guide's {len(solutions)} solutions are carried out"
    lines += ["## Coverage of the guide", "", f"{coverage}; all are in [guide.md](../guide.md)."]
    lines += ["", "Still missing:", ""] if missing else []
    lines += [f"- [{one.path}](../{one.link})" for one in missing]
    return "\n".join(lines) + "\n"
