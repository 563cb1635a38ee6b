"""Take a safeguard out of a module: apply one mutation to the statement that a comment marks.

A marker is a comment, ``# safeguard: word-word``, on the statement's first lines or on a line of
its own before it. The statement is found through the syntax tree and compared as ``ast.unparse``
writes it, so neither its place nor its layout matters: code can be moved and reformatted.
"""

from __future__ import annotations

import ast
import functools
import io
import re
import tokenize
from copy import copy

_MARKER = re.compile(r"#.*\bsafeguard: ([a-z0-9-]+)")
_BODIES = ("body", "orelse", "handlers", "finalbody")


@functools.cache
def markers(source):
    """Marker → the line of the code that it is about."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        match = _MARKER.match(token.string) if token.type == tokenize.COMMENT else None
        if match is None:
            continue
        assert match[1] not in found, f"The marker {match[1]} stands twice."
        is_alone = not token.line[: token.start[1]].strip()
        found[match[1]] = token.start[0] + is_alone
    return found


def mutate(source, marker, *, replace="", by="", drop=0, move=0):
    """``source`` without a safeguard.

    In the marked statement ``replace`` becomes ``by``; or ``drop`` statements, the marked one
    first, are left out; or the marked one is moved down by ``move`` statements.
    """
    tree = ast.parse(source)
    parent, field, index = _find(tree, markers(source)[marker])
    statements = getattr(parent, field)
    if drop:
        assert len(statements) >= index + drop, f"{marker}: there are not {drop} statements."
        del statements[index : index + drop]
        if field == "body" and not statements:
            statements.append(ast.Pass())
    elif move:
        assert len(statements) > index + move, f"{marker}: there are not {move} statements after."
        statements.insert(index + move, statements.pop(index))
    else:
        statements[index : index + 1] = _rewritten(statements[index], marker, replace, by)
    return ast.unparse(ast.fix_missing_locations(tree))


def header(node):
    """A statement's code on one line; of a compound one, what stands before its body."""
    bare = copy(node)
    for field in _BODIES:
        if hasattr(bare, field):
            setattr(bare, field, [ast.Pass()] if field == "body" else [])
    return ast.unparse(bare).removesuffix("\n    pass")


def _rewritten(node, marker, replace, by):
    code = header(node)
    assert code.count(replace) == 1, f"{marker}: {replace!r} does not stand once in {code!r}"
    code = code.replace(replace, by)
    if not hasattr(node, "body"):
        return ast.parse(code).body or [ast.Pass()]
    if isinstance(node, ast.ExceptHandler):
        new = ast.parse(f"try:\n    pass\n{code}\n    pass").body[0].handlers[0]
    else:
        new = ast.parse(f"{code}\n    pass").body[0]
    for field in _BODIES:
        if hasattr(node, field):
            setattr(new, field, getattr(node, field))
    return [new]


def _find(tree, line):
    """The innermost statement whose own lines hold ``line``: its parent, field and index."""
    found = None
    for parent in ast.walk(tree):
        for field in _BODIES:
            statements = getattr(parent, field, None)
            for index, node in enumerate(statements if isinstance(statements, list) else ()):
                if _first(node) <= line <= _last(node):
                    found = parent, field, index
    assert found is not None, f"There is no statement on line {line}."
    return found


def _first(node):
    decorators = getattr(node, "decorator_list", ())
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _last(node):
    body = getattr(node, "body", None)
    return max(_first(body[0]) - 1, node.lineno) if isinstance(body, list) else node.end_lineno
