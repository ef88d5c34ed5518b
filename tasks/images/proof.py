"""Proof that two ignore files give the same image: it is built with both.

The engine's builder takes a step from an earlier build where the files that it copies are the same
by hash, with names, rights and owners. So the second build ends at the very image of the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.platforms.images import Built, Images, Recipe

_NEEDS_BUILDKIT = "requires BuildKit"


@dataclass(frozen=True)
class Proof:
    """How the builds ended.

    Args:
        image: Id of the image that both gave; '' where there is no proof.
        unable: Why the engine cannot build it by itself.
        failed: Why the first build failed, as things stand.
        differs: What the second build made otherwise.
        steps: The number of steps.
    """

    image: str = ""
    unable: str = ""
    failed: str = ""
    differs: str = ""
    steps: int = 0


def prove_same_image(
    images: Images, recipe: Recipe, remediation: str, before: str | None, after: str
) -> Proof:
    """Build an image with the ignore file as it is, and as it shall be.

    Args:
        images: Builds them; none of them stays.
        recipe: How it is built.
        remediation: The id that they carry meanwhile.
        before: The ignore file, None for none.
        after: The ignore file that shall be.

    Returns:
        How it ended.
    """
    if recipe.unable:
        return Proof(unable=f"its compose file asks for {recipe.unable}")
    builds: list[Built] = []
    try:
        builds.append(first := images.build(recipe, remediation, ignore=before))
        if _NEEDS_BUILDKIT in first.error:
            return Proof(unable=f"{last_step(first)}: {first.error.split('. ')[0]}")
        if not first.image:
            return Proof(failed=told(first))
        builds.append(second := images.build(recipe, remediation, ignore=after))
        if not second.image:
            return Proof(differs=told(second))
        if second.image != first.image:
            return Proof(differs=f"{_first_anew(second)} makes another one")
        return Proof(image=first.image, steps=len(first.steps))
    finally:
        images.forget(remediation, builds)


def last_step(built: Built) -> str:
    """Give the instruction at which a build ended."""
    return f"`{built.steps[-1].instruction}`" if built.steps else "the Dockerfile"


def told(built: Built) -> str:
    """Say where a build failed; not what was printed there: that may hold a part of a secret."""
    return f"{last_step(built)} fails: {built.error}"


def _first_anew(built: Built) -> str:
    steps: Sequence[str] = [
        one.instruction
        for one in built.steps
        if not one.cached and one.instruction.split()[0].upper() not in {"FROM", "ARG", "LABEL"}
    ]
    return f"`{steps[0]}`" if steps else "a step"
