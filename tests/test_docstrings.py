"""Every exported function, class and method documents its arguments, results and errors."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import pyrogen

PACKAGE = Path(pyrogen.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
Function = ast.FunctionDef | ast.AsyncFunctionDef


def section(docstring: str, name: str) -> str | None:
    """The indented text below `name:`, or None where there is no such section."""
    found = re.search(rf"(?m)^{name}:\n((?:[ \t]+.*\n?|\n)*)", docstring)
    return found.group(1) if found else None


def documented_arguments(docstring: str) -> set[str]:
    text = (section(docstring, "Args") or "") + (section(docstring, "Attributes") or "")
    return set(re.findall(r"(?m)^ {4}\*{0,2}(\w+)(?: \([^)]*\))?:", text))


def arguments(function: Function, method: bool) -> list[str]:
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    if method and "staticmethod" not in decorators(function):
        names = names[1:]
    names += [a.arg for a in function.args.kwonlyargs]
    names += [a.arg for a in (function.args.vararg, function.args.kwarg) if a is not None]
    if "typer." in ast.unparse(function.args):
        return []  # a command: its options document themselves, in --help
    return [name for name in names if not name.startswith("_")]


def decorators(node: Function | ast.ClassDef) -> set[str]:
    """The last names of the decorators."""
    called = (d.func if isinstance(d, ast.Call) else d for d in node.decorator_list)
    return {ast.unparse(d).rpartition(".")[2] for d in called}


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """What is below a node, functions and classes in it left out."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, Function | ast.Lambda | ast.ClassDef):
            yield child
            yield from own_nodes(child)


def returns_something(node: ast.AST) -> bool:
    value = getattr(node, "value", None)
    nothing = value is None or (isinstance(value, ast.Constant) and value.value is None)
    return isinstance(node, ast.Return) and not nothing


def raised(function: Function) -> set[str]:
    """Names of the exceptions that the body itself raises by their class."""
    errors = (n.exc for n in own_nodes(function) if isinstance(n, ast.Raise) and n.exc is not None)
    names = {ast.unparse(e.func if isinstance(e, ast.Call) else e) for e in errors}
    names = {name for name in names if re.fullmatch(r"[A-Z]\w+", name)}
    return names - {"NotImplementedError", "AssertionError"}


def fields(cls: ast.ClassDef) -> list[str]:
    """The constructor's arguments of a dataclass."""
    if "dataclass" not in decorators(cls):
        return []
    lines = [n for n in cls.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
    kept = [n for n in lines if "ClassVar" not in ast.unparse(n.annotation)]
    names = [ast.unparse(n.target) for n in kept if "init=False" not in ast.unparse(n.value or ast.Constant(0))]
    return [name for name in names if not name.startswith("_")]


def missing_sections(function: Function, docstring: str, names: list[str]) -> Iterator[str]:
    lacking = [name for name in names if name not in documented_arguments(docstring)]
    if lacking:
        yield f"Args lacks {', '.join(lacking)}"
    nodes = list(own_nodes(function))
    yields = any(isinstance(n, ast.Yield | ast.YieldFrom) for n in nodes)
    if not decorators(function) & {"property", "cached_property"} and function.name != "__init__":
        if yields and section(docstring, "Yields") is None:
            yield "no Yields"
        if not yields and any(map(returns_something, nodes)) and section(docstring, "Returns") is None:
            yield "no Returns"
    errors = [name for name in sorted(raised(function)) if name not in (section(docstring, "Raises") or "")]
    if errors:
        yield f"Raises lacks {', '.join(errors)}"


def problems_of_class(cls: ast.ClassDef) -> Iterator[str]:
    docstring = ast.get_docstring(cls) or ""
    functions = [n for n in cls.body if isinstance(n, Function)]
    init = next((f for f in functions if f.name == "__init__"), None)
    if init is not None:
        yield from (f"{cls.name}: {p}" for p in missing_sections(init, docstring, arguments(init, True)))
    elif lacking := set(fields(cls)) - documented_arguments(docstring):
        yield f"{cls.name}: Args lacks {', '.join(sorted(lacking))}"
    for function in functions:
        if not function.name.startswith("_") and not decorators(function) & {"overload", "setter"}:
            text = ast.get_docstring(function) or ""
            names = [] if "property" in decorators(function) else arguments(function, True)
            yield from (f"{cls.name}.{function.name}: {p}" for p in missing_sections(function, text, names))


def problems(source: str) -> list[str]:
    tree, found = ast.parse(source), []
    for node in tree.body:
        if not isinstance(node, (ast.ClassDef, *Function.__args__)) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            found += problems_of_class(node)
        else:
            text = ast.get_docstring(node) or ""
            found += [f"{node.name}: {p}" for p in missing_sections(node, text, arguments(node, False))]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_is_exported_is_documented(path: Path) -> None:
    assert not problems(path.read_text(encoding="utf-8"))


PLANTED = {
    "argument": ("def f(x, y):\n    '''F.\n\n    Args:\n        x: a.\n    '''", "f: Args lacks y"),
    "keyword": ("def f(*, y=1):\n    '''F.'''", "f: Args lacks y"),
    "returns": ("def f():\n    '''F.'''\n    return 1", "f: no Returns"),
    "yields": ("def f():\n    '''F.'''\n    yield 1", "f: no Yields"),
    "raises": ("def f():\n    '''F.'''\n    raise ValueError('x')", "f: Raises lacks ValueError"),
    "constructor": ("class f:\n    '''F.'''\n    def __init__(self, x): ...", "f: Args lacks x"),
    "dataclass": ("@dataclass(frozen=True)\nclass f:\n    '''F.'''\n    x: int = 1", "f: Args lacks x"),
    "method": ("class f:\n    '''F.'''\n    def g(self, x):\n        '''G.'''", "f.g: Args lacks x"),
}


@pytest.mark.parametrize(("source", "found"), PLANTED.values(), ids=PLANTED)
def test_what_is_missing_is_found(source: str, found: str) -> None:
    assert problems(source) == [found]


def test_private_helpers_and_complete_docstrings_pass() -> None:
    complete = "def f(x):\n    '''F.\n\n    Args:\n        x: a.\n\n    Returns:\n        b.\n    '''\n    return x"
    assert not problems(f"{complete}\ndef _g(x):\n    return x")
