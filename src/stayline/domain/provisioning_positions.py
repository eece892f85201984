"""Where in a TOML text each key stands, so that an error can name its line."""

import tomllib
from collections import Counter

import tree_sitter_toml
from tree_sitter import Language, Node, Parser

Path = tuple[str | int, ...]
Position = tuple[int, int]
"""Line and column, both from 1."""

_LANGUAGE = Language(tree_sitter_toml.language())


class Positions:
    """Positions of the keys of one text."""

    def __init__(self, text: str) -> None:
        self._found: dict[Path, Position] = {}
        self._arrays: Counter[Path] = Counter()
        root = Parser(_LANGUAGE).parse(text.encode()).root_node
        for child in root.named_children:
            if child.type == "pair":
                self._pair((), child)
            elif child.type in ("table", "table_array_element"):
                self._table(child)

    def of(self, path: Path) -> Position:
        """The position of a path, or of the nearest thing around it; (1, 1) when nothing is known."""
        while path:
            if path in self._found:
                return self._found[path]
            path = path[:-1]
        return (1, 1)

    def _table(self, node: Node) -> None:
        header = next((c for c in node.named_children if c.type in _KEYS), None)
        if header is None:
            return
        path = self._into_arrays(_key(header))
        if node.type == "table_array_element":
            index = self._arrays[path]
            self._arrays[path] += 1
            path = (*path, index)
        self._note(path, header)
        for child in node.named_children:
            if child.type == "pair":
                self._pair(path, child)

    def _into_arrays(self, key: Path) -> Path:
        """``[a.b]`` after ``[[a]]`` is inside the last element of ``a``."""
        path: Path = ()
        for part in key:
            if path and self._arrays[path]:
                path = (*path, self._arrays[path] - 1)
            path = (*path, part)
        return path

    def _pair(self, base: Path, node: Node) -> None:
        children = node.named_children
        if len(children) < 2 or children[0].type not in _KEYS:
            return
        path = (*base, *_key(children[0]))
        self._note(path, children[0])
        self._value(path, children[-1])

    def _value(self, path: Path, node: Node) -> None:
        if node.type == "inline_table":
            for child in node.named_children:
                if child.type == "pair":
                    self._pair(path, child)
        elif node.type == "array":
            elements = [c for c in node.named_children if c.type != "comment"]
            for index, child in enumerate(elements):
                self._note((*path, index), child)
                self._value((*path, index), child)

    def _note(self, path: Path, node: Node) -> None:
        position = (node.start_point.row + 1, node.start_point.column + 1)
        for length in range(1, len(path) + 1):
            self._found.setdefault(path[:length], position)


_KEYS = frozenset({"bare_key", "quoted_key", "dotted_key"})


def _key(node: Node) -> Path:
    if node.type == "dotted_key":
        return tuple(part for child in node.named_children for part in _key(child))
    text = (node.text or b"").decode()
    return (str(tomllib.loads(f"key = {text}")["key"]) if node.type == "quoted_key" else text,)
