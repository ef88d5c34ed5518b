"""Edits of YAML as a careful person makes them: what is not edited stays byte for byte.

ruamel.yaml keeps comments, order and quotes, but not every line's form, and it drops comments
with the key above them. So only the lines in which its two outputs differ, without and with the
edit, are taken over into the text.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from io import StringIO
from typing import Any

import yaml
from merge3 import Merge3
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode
from ruamel.yaml.tag import Tag

from tasks.guardrails.errors import PreconditionFailed

_COMMENT = re.compile(r"""^(?:[^'"#]|'[^']*'|"(?:[^"\\]|\\.)*"|(?<!\s)\#)*?(?:(?<=\s)|^)(\#.*)$""")


def load(text: str, name: str) -> CommentedMap:
    """Read a mapping with its comments.

    Args:
        text: YAML.
        name: Name of the file, for the error.

    Raises:
        PreconditionFailed: It is no YAML, or no mapping.
    """
    try:
        found = _editor().load(_plain(text))
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise PreconditionFailed(
            expected=f"YAML in {name}.",
            found=f"{type(error).__name__}{where}.",  # what it says besides repeats values
            todo="Correct that line.",
        ) from error
    if not isinstance(found, CommentedMap):
        raise PreconditionFailed(
            expected=f"a mapping of names in {name}.",
            found=f"{type(found).__name__}.",
            todo="Correct `compose_files` of the target, or the file.",
        )
    return found


class _Tagged(yaml.SafeLoader):
    """Reads what compose's own tags (!reset, !override) stand before, with the tag."""


def _tagged(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> tuple[str, object]:
    if isinstance(node, yaml.MappingNode):
        return tag, loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return tag, loader.construct_sequence(node, deep=True)
    return tag, node.value


_Tagged.add_multi_constructor("!", _tagged)


def read(text: str) -> Any:  # noqa: ANN401 - any YAML
    """Read YAML as values, with `<<` merged; what has a tag becomes a pair of tag and value.

    Args:
        text: YAML.

    Raises:
        YAMLError: It is none.
    """
    return yaml.load(text, _Tagged)  # noqa: S506 - a safe loader


def parts(found: object) -> Iterator[CommentedMap]:
    """Give a mapping, and those that are merged into it by `<<`."""
    if isinstance(found, CommentedMap):
        yield found
        below = found.get("<<")
        for one in below if isinstance(below, CommentedSeq) else [below]:
            yield from parts(one)


def edited(text: str, name: str, edit: Callable[[CommentedMap], None]) -> str:
    """Edit a mapping in its text.

    Args:
        text: YAML.
        name: Name of the file, for errors.
        edit: Changes the mapping in place.

    Returns:
        The text with the edit; comments, order, quotes and line ends as they were.

    Raises:
        PreconditionFailed: It is no YAML, or no mapping.
    """
    untouched, changed = load(text, name), load(text, name)
    edit(changed)
    editor, plain = _editor(untouched), _plain(text)
    base, wanted = _dump(editor, untouched), _dump(editor, changed)
    if base == wanted:
        return text
    wanted = "".join(_with_comments(_lines(base), _lines(wanted)))
    result = _taken_over(base, plain, wanted)
    if not _reads_alike(result, wanted):
        result = wanted
    return result.replace("\n", "\r\n") if "\r\n" in text else result


def merged(base: str, first: str, second: str) -> str | None:
    """Merge two edits of a text, line by line.

    Args:
        base: The text that both were made from.
        first: One of them.
        second: The other one.

    Returns:
        The text with both edits; None where they are about the same lines.
    """
    found: list[str] = []
    for group in Merge3(_lines(base), _lines(first), _lines(second)).merge_groups():
        if group[0] == "conflict":
            return None
        found += group[1]
    return "".join(found)


def _taken_over(base: str, text: str, wanted: str) -> str:
    """Take over into the text what of the wanted lines differs from the base."""
    lines, theirs, ours = _lines(base), _lines(text), _lines(wanted)
    if len(lines) != len(theirs):  # some are broken elsewhere: which is which, is not known
        return merged(base, text, wanted) or wanted
    found: list[str] = []
    for what, a, b, c, d in SequenceMatcher(None, lines, ours, autojunk=False).get_opcodes():
        if what == "equal":
            found += theirs[a:b]
            continue
        beside = a if a < b else max(a - 1, 0)
        further = _indent(theirs[beside]) - _indent(lines[beside])
        found += [_moved(line, further) for line in ours[c:d]]
    return "".join(found)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _moved(line: str, further: int) -> str:
    return " " * further + line if further > 0 else line[min(-further, _indent(line)) :]


def _reads_alike(text: str, wanted: str) -> bool:
    try:
        return bool(read(text) == read(wanted))
    except yaml.YAMLError:
        return False


def _with_comments(base: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    """Give the wanted lines, with the comments that went with the lines before them."""
    for what, a, b, c, d in SequenceMatcher(None, base, wanted, autojunk=False).get_opcodes():
        new = list(wanted[c:d])
        if what == "equal":
            yield from new
            continue
        kept = {found[1] for line in new if (found := _COMMENT.match(line.rstrip("\n")))}
        above: list[str] = []
        below: list[str] = []
        lost = above  # until the first line that says something
        for line in base[a:b]:
            found = _COMMENT.match(line.rstrip("\n"))
            if line.strip() and not line.lstrip().startswith("#"):
                lost = below
            if found and found[1] not in kept:
                lost.append(f"{' ' * _indent(line)}{found[1]}\n")
        yield from (*above, *new, *below)


class _Plain(RoundTripConstructor):
    """Leaves `<<` what it stands for a reader: a key, whose mapping can be edited."""

    def flatten_mapping(self, node: MappingNode) -> None:
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                key.ctag = Tag(suffix="tag:yaml.org,2002:str")


def _editor(found: CommentedMap | None = None) -> YAML:
    editor = YAML()
    editor.Constructor = _Plain
    editor.preserve_quotes = True
    editor.width = 1 << 20  # lines are nowhere broken that were not
    if found is not None:
        steps = Counter(_steps(found))
        mapping = max((2, 4, 3, 6, 8), key=lambda width: steps["mapping", width])
        offset = max((0, 2, 4), key=lambda width: steps["sequence", width])
        editor.indent(mapping=mapping, sequence=offset + 2, offset=offset)
    return editor


def _steps(found: CommentedMap) -> Iterator[tuple[str, int]]:
    """Give by how much each mapping and sequence stands further in than what it belongs to."""
    for value in found.values():
        if isinstance(value, CommentedMap | CommentedSeq) and not value.fa.flow_style():
            kind = "mapping" if isinstance(value, CommentedMap) else "sequence"
            yield kind, value.lc.col - found.lc.col
        if isinstance(value, CommentedMap):
            yield from _steps(value)


def _dump(editor: YAML, found: CommentedMap) -> str:
    out = StringIO()
    editor.dump(found, out)
    return re.sub(r"^(\s*)'<<':", r"\1<<:", out.getvalue(), flags=re.MULTILINE)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)
