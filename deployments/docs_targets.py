"""The page of targets: an example that is tested, and all fields of each platform's form."""

from collections.abc import Iterator
from pathlib import Path

from prefect.blocks.core import Block
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from deployments.cli.targets import block_type
from tasks.platforms.targets import PLATFORMS

EXAMPLE = Path("targets") / "compose.yaml"
_HEAD = """# Targets

A target is a system under care: a form in Prefect's UI (Blocks → add), or a file for
`remedy target add`. `remedy target check NAME` says what works, and what stays unproved.

## A compose project

[{example}]({example}), for the project that the guide describes:

```yaml
{text}```

Passwords are fields of their own and kept encrypted. Where there is no probe account, remediations
say that they could not prove the application.
"""


def page(docs: Path) -> str:
    """Write the page.

    Args:
        docs: Folder of the docs, with the example.

    Returns:
        Markdown.
    """
    text = (docs / EXAMPLE).read_text()
    parts = [_HEAD.format(example=EXAMPLE.as_posix(), text=text)]
    for slug in sorted(PLATFORMS):
        parts += _fields(slug, block_type(slug))
    return "\n".join(parts)


def _fields(slug: str, form: type[Block]) -> Iterator[str]:
    yield f"## Fields of `{slug}`\n"
    yield (form.__doc__ or "").strip().splitlines()[0] + "\n"
    yield "| field | default | what it is |"
    yield "| --- | --- | --- |"
    fields = [(name, one) for name, one in form.model_fields.items() if one.description]
    for name, one in sorted(fields, key=lambda pair: not pair[1].is_required()):
        yield f"| `{name}` | {_default(one)} | {one.description} |"
    yield ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, BaseModel):
        return "as the guide's application has it"
    if value in ("", None, [], {}, PydanticUndefined):
        return ""
    return f"`{' '.join(map(str, value)) if isinstance(value, list) else value}`"
