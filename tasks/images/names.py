"""Names of images: with their tag, and further ones that a remediation gives them."""

from tasks.guardrails.errors import PreconditionFailed


def with_tag(name: str) -> str:
    """Give a name with its tag.

    Args:
        name: As compose files say it.

    Raises:
        PreconditionFailed: It says which image by its hash: another one cannot have that name.
    """
    if "@" in name or name.startswith("sha256:") or not name:
        raise PreconditionFailed(
            expected="an image that is called by a name and a tag in the compose files.",
            found=f"{name[:60] or 'no name'}.",
            todo="Say `image: NAME:TAG` beside `build` of the service, `compose up -d` it.",
        )
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def beside(name: str, tag: str) -> str:
    """Give the name that another image of the same has.

    Args:
        name: A name with its tag.
        tag: The other tag.
    """
    return f"{name.rpartition(':')[0]}:{tag}"
