"""`remedy policy`: who must approve what, for each target."""

from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from deployments.cli.output import AsJson, emit, table
from deployments.cli.proving import As, Code, authenticate
from deployments.cli.starting import read_parameters
from tasks.guardrails import codes
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.policy import EVERY_TARGET, Policy, policy_of, set_policy

app = App(name="policy", help="Who must approve what, for each target.", help_format="markdown")
Target = Annotated[str, Parameter(help="Name of the target; * for all without their own.")]


@app.command
def show(target: Target = EVERY_TARGET, /, *, as_json: AsJson = False) -> None:
    """Show the policy in force for a target."""
    found = policy_of(Ledger(), target)
    rows = [
        (name, getattr(found.policy, name), field.default, field.description)
        for name, field in Policy.model_fields.items()
    ]
    data = {"target": target, "version": found.version, **found.policy.model_dump()}
    title = f"Policy of {target} (" + (
        f"entry {found.version} of the ledger)" if found.version else "the default)"
    )
    emit(data, table(("field", "value", "default", "meaning"), rows, title), as_json=as_json)


@app.command(name="set")
def set_(
    target: Target,
    fields: Annotated[tuple[str, ...], Parameter(help="Fields as name=value.")],
    /,
    *,
    as_: As,
    code: Code = "",
    as_json: AsJson = False,
) -> None:
    """Set fields of a target's policy; plans made before are made and approved anew."""
    if not fields:
        raise BadInput(
            expected="fields as name=value.", found="none.", todo="See `remedy policy show`."
        )
    ledger = Ledger()
    values = read_parameters(fields)
    checked = Policy.model_fields.keys() & values.keys()
    if len(checked) != len(values):
        unknown = ", ".join(sorted(values.keys() - checked))
        raise BadInput(
            expected=f"fields of the policy: {', '.join(Policy.model_fields)}.",
            found=f"{unknown}.",
            todo="See `remedy policy show`.",
        )
    who, mark = authenticate(ledger, as_, code)
    with ledger.writing() as chain:
        codes.use_code(chain, who, mark, codes.HOST)
        before = policy_of(ledger, target).policy  # nobody else sets one until this has ended
        after = set_policy(chain, before, target, values, who)
    emit(after.model_dump(), Text(f"The policy of {target} is set."), as_json=as_json)
