"""Why a build fails: by what its last step printed; of that only names and versions are shown.

Sources: messages of pip 21 to 25 and of uv; of compilers and of `pg_config`; of Docker's builder.
"""

import re
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from tasks.images.proof import last_step
from tasks.platforms.images import Built

_PACKAGE = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_VERSION = r"[A-Za-z0-9][A-Za-z0-9.!+*-]{0,59}"
_SPECIFIER = rf"(?:[<>=!~]=?=?\s?{_VERSION},?\s?)*"
_NONE_FITS = re.compile(
    rf"Could not find a version that satisfies the requirement (?P<package>{_PACKAGE})"
    rf"(?:\[[\w,-]+\])?(?P<asked>{_SPECIFIER}).{{0,200}}?\(from versions: (?P<known>[^)]*)\)"
)
_OTHER_PYTHON = (
    re.compile(
        rf"Package '(?P<package>{_PACKAGE})' requires a different Python: "
        rf"(?P<has>{_VERSION}) not in '(?P<asked>[<>=!~,.*\w ]{{1,60}})'"
    ),
    re.compile(
        r"require a different python version: .{0,999}?(?P<asked>[<>=!~,.*\w]{1,60})$",
        re.MULTILINE | re.IGNORECASE,
    ),
)
_UV_NONE = re.compile(rf"there is no version of (?P<package>{_PACKAGE})(?P<asked>{_SPECIFIER})")
_UV_NOT_FOUND = re.compile(rf"(?P<package>{_PACKAGE}) was not found in the package registry")
_ASKED = re.compile(
    rf"^\s+The user requested (?:\(constraint\) )?(?P<package>{_PACKAGE})", re.MULTILINE
)
_DEPENDS = re.compile(
    rf"^\s+(?P<by>{_PACKAGE}) (?P<version>{_VERSION}) depends on (?P<package>{_PACKAGE})"
    rf"(?P<asked>{_SPECIFIER})",
    re.MULTILINE,
)
_NOT_BUILT = re.compile(
    r"(?:Failed building wheel for|Failed to build installable wheels for some pyproject.toml "
    rf"based projects \(|Could not build wheels for|Failed to build) (?P<package>{_PACKAGE})"
)
_SOURCE_OF = re.compile(
    rf"^(?:Processing|Collecting|  ?Downloading|Using cached) (?:\S*/)?(?P<package>{_PACKAGE})",
    re.MULTILINE,
)
_HASHES = re.compile(
    rf"DO NOT MATCH THE HASHES.{{0,400}}?^\s+(?P<package>{_PACKAGE})==(?P<version>{_VERSION})",
    re.DOTALL | re.MULTILINE,
)
_UNHASHED = "In --require-hashes mode, all requirements must have their versions pinned"
_METADATA = ("metadata-generation-failed", "subprocess-exited-with-error", "did not run success")
_AWAY = re.compile(
    r"Temporary failure in name resolution|NewConnectionError|Name or service not known|"
    r"Connection refused|Network is unreachable|ConnectTimeoutError|Read timed out|dns error|"
    r"Could not fetch URL|Could not resolve host",
    re.IGNORECASE,
)
_NO_FILE = re.compile(r"(?:COPY|ADD) failed: |failed to compute cache key")
_NO_BASE = re.compile(r"pull access denied|manifest unknown|manifest for \S+ not found")
_NO_REQUIREMENTS = "Could not open requirements file"
# What is missing, by what compilers and build scripts say; with Debian's package.
_LIBRARIES = (
    (r"pg_config executable not found|pg_config is required|libpq-fe\.h", "pg_config", "libpq-dev"),
    (r"Python\.h: No such file", "Python.h", "python3-dev"),
    (r"ffi\.h: No such file", "ffi.h", "libffi-dev"),
    (r"openssl/\w+\.h: No such file", "openssl's headers", "libssl-dev"),
    (r"libxml/\w+\.h: No such file|libxslt", "libxml2's headers", "libxml2-dev libxslt1-dev"),
    (r"jpeglib\.h|headers or library files could not be found for jpeg", "jpeg", "libjpeg-dev"),
    (r"zlib\.h: No such file", "zlib.h", "zlib1g-dev"),
    (r"mysql_config|mysqlclient", "mysql_config", "default-libmysqlclient-dev"),
    (r"cargo|Rust compiler|rustc", "a Rust compiler", "cargo"),
    (r"command '?(?:[\w-]+-)?g?cc'? failed|g?cc: not found|directory: '(?:gcc|cc|g\+\+)'",
     "a C compiler", "build-essential"),
    (r"cmake: not found|CMake must be installed", "cmake", "cmake"),
)  # fmt: skip
_HEADER = re.compile(r"fatal error: (?P<it>[\w./+-]{1,99}): No such file or directory")


@dataclass(frozen=True)
class Failure:
    """Why a build failed.

    Args:
        kind: 'version', 'conflict', 'python', 'library', 'hash', 'network', 'file', 'base',
            'disk', 'other'.
        step: The instruction that fails.
        what: Why, as a sentence, with names and versions only.
        todo: What a person does about it.
        packages: Names of the packages that it is about, as names are compared.
        known: Versions of the first one that the index has.
    """

    kind: str
    step: str
    what: str
    todo: str
    packages: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


def classify(built: Built) -> Failure:
    """Say why a build failed.

    Args:
        built: How it ended.
    """
    step = last_step(built)
    said = f"{built.steps[-1].output if built.steps else ''}\n{built.error}"
    kind, what, todo, packages, known = _why(said)
    return Failure(kind, step, what, todo, packages, known)


_Why = tuple[str, str, str, tuple[str, ...], tuple[str, ...]]


def _why(said: str) -> _Why:
    if "no space left on device" in said.lower():
        return "disk", "The engine's disk is full.", "remedy run clean-up-docker", (), ()
    if found := _HASHES.search(said):
        name = canonicalize_name(found["package"])
        what = (
            f"What the index gives for {name} {found['version']} has another hash than the "
            "requirements file says: it was published anew, or is not what it claims to be."
        )
        todo = "compare both with the project's own page before any hash is changed"
        return "hash", what, todo, (name,), ()
    if _UNHASHED in said:
        what = "Some requirements have hashes, and one that they need is not pinned."
        return "hash", what, "write the file anew by `pip-compile --generate-hashes`", (), ()
    if "ResolutionImpossible" in said or "conflicting dependencies" in said:
        return _conflict(said)
    return _not_found(said) or _not_built(said) or _otherwise(said)


def _conflict(said: str) -> _Why:
    asked = tuple(dict.fromkeys(canonicalize_name(x["package"]) for x in _ASKED.finditer(said)))
    needs = [
        f"{x['by']} {x['version']} needs {x['package']}{x['asked'].strip()}"
        for x in _DEPENDS.finditer(said)
    ]
    by = tuple(dict.fromkeys(canonicalize_name(x["by"]) for x in _DEPENDS.finditer(said)))
    what = f"What is required contradicts itself: {'; '.join(needs) or 'no version fits all'}"
    what += f", and the file asks for another {', '.join(asked)}." if asked else "."
    todo = "change one of these requirements"
    return "conflict", what, todo, tuple(dict.fromkeys((*asked, *by))), ()


def _not_found(said: str) -> _Why | None:
    for pattern in _OTHER_PYTHON[:1]:
        if found := pattern.search(said):
            name = canonicalize_name(found["package"])
            what = f"{name} needs Python {found['asked']}, and the image has {found['has']}."
            return "python", what, "another base image, or an older version", (name,), ()
    found = _NONE_FITS.search(said) or _UV_NONE.search(said) or _UV_NOT_FOUND.search(said)
    if found is None:
        return None
    parts = found.groupdict()
    name, asked = canonicalize_name(parts["package"]), (parts.get("asked") or "").strip()
    listed = parts.get("known") or ""
    known = tuple(re.findall(_VERSION, listed)) if listed.strip() != "none" else ()
    if not known and _AWAY.search(said):
        return _network(name)
    if not known and (other := _OTHER_PYTHON[1].search(said)):
        what = f"Each {name} that would fit needs another Python ({other['asked']})."
        return "python", what, "another base image, or an older version", (name,), ()
    told = (
        f"it has {', '.join(known[-5:])}" if known else "it has none that fits, or is not reached"
    )
    what = f"The index has no {name}{asked}: {told}."
    return "version", what, "say a version that the index has", (name,), known


def _not_built(said: str) -> _Why | None:
    named = [canonicalize_name(x["package"]) for x in _NOT_BUILT.finditer(said)]
    if not named and not any(one in said for one in _METADATA):
        return None
    if not named:
        # pip prepares what it named last.
        sources = [x["package"] for x in _SOURCE_OF.finditer(said)]
        named = [canonicalize_name(re.split(r"-\d", one)[0]) for one in sources[-1:]]
    name = named[0] if named else "a package"
    needed = next(((it, deb) for pattern, it, deb in _LIBRARIES if re.search(pattern, said)), None)
    packages = tuple(dict.fromkeys(named))
    if needed:
        what = f"{name} has no wheel for this Python, and to build it {needed[0]} is missing."
        todo = f"install {needed[1]} in a step before (its name in Debian), or a version with wheel"
        return "library", what, todo, packages, ()
    if found := _HEADER.search(said):
        what = f"{name} has no wheel for this Python, and to build it {found['it']} is missing."
        todo = f"install the package that has it (`apt-file search {found['it']}`)"
        return "library", what, todo, packages, ()
    what = f"{name} has no wheel for this Python, and its own build fails."
    return "library", what, "build it by hand, and read what it says", packages, ()


def _otherwise(said: str) -> _Why:
    if _NO_FILE.search(said) or _NO_REQUIREMENTS in said:
        what = "A file that it takes is not in the folder, or its ignore file hides it."
        return "file", what, "compare the instruction with the folder and its ignore file", (), ()
    if _NO_BASE.search(said):
        what = "The image that it builds on is not to be had."
        return "base", what, "correct FROM, or log in to its registry (`docker login`)", (), ()
    if _AWAY.search(said):
        return _network("")
    return "other", "Its command fails.", "build it by hand, and read what it says", (), ()


def _network(name: str) -> _Why:
    what = f"The index of packages is not reached{f' for {name}' if name else ''}."
    todo = "correct DNS, proxy or `network` of the build; run again when it answers"
    return "network", what, todo, (), ()
