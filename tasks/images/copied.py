"""What of a folder has to reach the builder: what any Dockerfile in it copies, in any stage."""

from collections.abc import Collection, Iterable

from tasks.images.dockerfile import EVERYTHING, Copies, find_copies
from tasks.platforms.images import Images, Recipe


def find_copying(images: Images, recipe: Recipe) -> dict[str, list[Copies]]:
    """Find the instructions that take files from a recipe's folder, by their Dockerfile.

    Args:
        images: Where the recipe is from.
        recipe: The recipe.
    """
    return {
        path: find_copies(text, recipe.arguments)
        for path, text in images.dockerfiles(recipe).items()
    }


def taken(images: Images, copies: Copies, files: Collection[str]) -> set[str]:
    """Say which files an instruction takes.

    Args:
        images: Says how paths are matched.
        copies: The instruction.
        files: What the builder gets.
    """
    if copies.is_everything:
        return set(files)
    found: set[str] = set()
    for source in copies.sources:
        found |= images.hidden([source], files)
    return found


def find_copied(images: Images, recipe: Recipe, files: Iterable[str]) -> set[str]:
    """Find the files that some Dockerfile in a recipe's folder copies.

    Args:
        images: Where the recipe is from.
        recipe: The recipe.
        files: What the builder gets.

    Returns:
        Those that are copied.
    """
    known = set(files)
    found: set[str] = set()
    for copying in find_copying(images, recipe).values():
        for copies in copying:
            found |= taken(images, copies, known)
    return found


def find_wanted(images: Images, recipe: Recipe, files: Iterable[str], ignore: str) -> set[str]:
    """Find files that have to stay though nothing copies them.

    Args:
        images: Where the recipe is from.
        recipe: The recipe.
        files: What the builder gets.
        ignore: Text of the ignore file: what it names behind a `!` is wanted.

    Returns:
        Dockerfiles, the ignore file, and what that wants.
    """
    known = set(files)
    wanted = {recipe.ignore, *images.dockerfiles(recipe)} & known
    for line in (one.strip() for one in ignore.split("\n")):
        if line.startswith("!") and line.rpartition("/")[2].strip("*!"):
            shown = images.hidden([line[1:]], known)
            wanted |= {path for path in shown if path.rpartition("/")[0] not in shown}
    return wanted


def takes_everything(copying: dict[str, list[Copies]]) -> list[str]:
    """Name the instructions that take a folder as a whole, with where they stand."""
    return [
        f"line {copies.instruction.line} of {path} ({copies.instruction})"
        for path, all_copies in copying.items()
        for copies in all_copies
        if EVERYTHING in copies.sources
    ]
