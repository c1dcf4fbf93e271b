"""The architecture of pyrogen, checked against its source: parts and rooms, imports, cycles, heavy libraries, sizes."""

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

import pytest

import pyrogen

PACKAGE = Path(pyrogen.__file__).parent

# Each file or folder of pyrogen/, and what it may import from pyrogen. The lower ones come first.
LADDER = {
    "messages": "",
    "annotations": "",
    "arguments": "annotations messages",
    "story": "messages",
    "data": "messages annotations arguments",
    "nn": "messages annotations arguments",
    "distributions": "messages annotations arguments nn",
    "autoregressive": "messages annotations arguments story nn distributions",
    "models": "messages annotations arguments story nn distributions autoregressive",
    "inference": "messages annotations arguments story data",
    "diagnostics": "messages annotations arguments story data nn inference",
    "adversarial": "messages annotations arguments story data nn distributions inference",
    "plots": "messages annotations arguments story data inference diagnostics",
    "catalog": "messages annotations arguments story data nn distributions models autoregressive inference adversarial",
}
EVERYTHING = " ".join(LADDER)
LADDER |= {"cli": f"{EVERYTHING} __init__", "__init__": EVERYTHING, "__main__": "cli"}
# The rooms of a part: its folders, and "" for the modules beside them. A room imports from the rooms before it.
ROOMS = {
    "inference": [
        "batching",
        "program",
        "optim",
        "persistence",
        "compile",
        "training",
        "svi",
        "likelihood",
        "prediction",
        "",
    ],
    "diagnostics": ["core", "elbo", "samples", "guide", "model_checks", "report", ""],
    "nn": ["", "sequence", "conv", "pixel"],
    "distributions": ["", "discrete", "flows", "diffusion"],
    "catalog": ["", "stories", "find", "listing"],
}
NOT_PYTHON = {"py.typed"}

# Loaded when used, never by `import pyrogen`.
HEAVY = {"arviz", "arviz_base", "arviz_plots", "arviz_stats", "h5netcdf", "h5py", "matplotlib", "pandas", "PIL"}
HEAVY |= {"scipy", "sklearn", "tensorboard", "torchmetrics", "torchvision", "xarray", "zuko"}
# The terminal, and the modules that may speak to it.
TERMINAL, SPEAKERS = {"rich", "typer"}, ("pyrogen.cli", "pyrogen.inference.training.progress")

TYPES_ONLY = {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
LINES_OF_A_FILE = 299
LINES_OF_A_FUNCTION = 40
MODULES_OF_A_FOLDER = 14  # models excepted: one file, one story
SECONDS_BEYOND_PYRO = 0.2


class Import(NamedTuple):
    """One imported module, or a name in one that may be a submodule."""

    module: str
    name: str
    line: int
    in_function: bool
    for_types: bool

    def of_pyrogen(self) -> bool:
        return self.module.split(".")[0] == "pyrogen"


class Module(NamedTuple):
    name: str
    path: Path
    tree: ast.Module
    imports: list[Import]

    def unit(self) -> str:
        """The entry of the ladder that the module belongs to."""
        return unit(self.name)


def unit(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def read(package: Path) -> dict[str, Module]:
    """The modules of a package by their full names."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = ("pyrogen", *path.relative_to(package).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parent = name if is_package else name.rpartition(".")[0]
        modules[name] = Module(name, path, tree, list(imports(tree, parent)))
    return modules


def imports(node: ast.AST, parent: str, in_function: bool = False, for_types: bool = False) -> Iterator[Import]:
    """What the code under a node imports; relative imports are resolved against the parent package."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(alias.name, "", node.lineno, in_function, for_types)
    elif isinstance(node, ast.ImportFrom):
        up = parent.split(".")[: len(parent.split(".")) - node.level + 1] if node.level else []
        module = ".".join([*up, *filter(None, [node.module])])
        for alias in node.names:
            yield Import(module, alias.name, node.lineno, in_function, for_types)
    elif isinstance(node, ast.Call) and (called := imported_by_call(node)):
        yield Import(parent + called if called.startswith(".") else called, "", node.lineno, in_function, for_types)
    in_function |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    types_only = node.body if isinstance(node, ast.If) and ast.unparse(node.test) in TYPES_ONLY else []
    for child in ast.iter_child_nodes(node):
        yield from imports(child, parent, in_function, for_types or child in types_only)


def imported_by_call(call: ast.Call) -> str:
    """The module named by `importlib.import_module("...")` or `__import__("...")`, else nothing."""
    by_call = ast.unparse(call.func).rpartition(".")[2] in {"import_module", "__import__"}
    name = call.args[0] if by_call and call.args else None
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else ""


def target(found: Import, modules: dict[str, Module]) -> str:
    """The module that an import reads: the submodule where the name is one."""
    submodule = f"{found.module}.{found.name}"
    return submodule if submodule in modules else found.module


def layout(package: Path, modules: dict[str, Module]) -> Iterator[str]:
    for entry in sorted(package.iterdir()):
        listed = entry.stem in LADDER and entry.suffix in {"", ".py"}
        if not listed and entry.name not in {"__pycache__", *NOT_PYTHON}:
            yield f"{entry.name} is not listed in the ladder"
    for module in modules.values():
        if any(part.strip("_") in {"util", "utils"} for part in module.name.split(".")):
            yield f"{module.name}: no utils, name what it is about"
        if module.path.name != "__init__.py" and not (module.path.parent / "__init__.py").exists():
            yield f"{module.name} lies in a folder without __init__.py"


def ladder(package: Path, modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        for found in filter(Import.of_pyrogen, module.imports):
            rung = unit(target(found, modules))
            if rung != module.unit() and rung not in LADDER.get(module.unit(), "").split():
                yield f"{module.name}:{found.line} may not import {rung}"


def room(module: str, modules: dict[str, Module]) -> str:
    """The room of a module within its part: the folder, or nothing for a module beside the folders."""
    parts = module.split(".")
    if len(parts) < 3 or parts[1] not in ROOMS:
        return ""
    listed = parts[2] in ROOMS[parts[1]]
    return parts[2] if listed else ""


def rooms(package: Path, modules: dict[str, Module]) -> Iterator[str]:
    """A room imports from the rooms before it alone; the `__init__` of a part, its face, from all of them."""
    for part, order in ROOMS.items():
        folders = {path.parent.name for path in package.glob(f"{part}/*/__init__.py")}
        for folder in sorted(folders - set(order)):
            yield f"{part}.{folder} is not listed as a room"
    for module in modules.values():
        part = module.unit()
        if part not in ROOMS or module.name == f"pyrogen.{part}":
            continue
        order, mine = ROOMS[part], room(module.name, modules)
        for found in filter(Import.of_pyrogen, module.imports):
            imported = target(found, modules)
            if unit(imported) != part or imported == f"pyrogen.{part}":
                continue
            theirs = room(imported, modules)
            if order.index(theirs) > order.index(mine):
                yield f"{module.name}:{found.line} may not import the room {part}.{theirs}"


def circles(package: Path, modules: dict[str, Module]) -> Iterator[str]:
    """Cycles between modules, imports for type annotations included."""
    edges: dict[str, set[str]] = {
        name: {target(found, modules) for found in module.imports} & modules.keys() for name, module in modules.items()
    }
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> Iterator[str]:
        if name in path:
            yield "circle " + " -> ".join([*path[path.index(name) :], name])
        elif name not in done:
            for imported in sorted(edges[name]):
                yield from walk(imported, [*path, name])
            done.add(name)

    for name in edges:
        yield from walk(name, [])


def own_imports_in_functions(package: Path, modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        for found in module.imports:
            if found.of_pyrogen() and found.in_function:
                yield f"{module.name}:{found.line} imports {found.module} inside a function"


def heavy_imports(package: Path, modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        banned = HEAVY if module.name.startswith(SPEAKERS) else HEAVY | TERMINAL
        for found in module.imports:
            names = {
                found.module.split(".")[0],
                f"{found.module}.{found.name}".replace("torch.utils.", "").split(".")[0],
            }
            if names & banned and not found.in_function and not found.for_types:
                yield f"{module.name}:{found.line} imports {found.module} when it is loaded"


def sizes(package: Path, modules: dict[str, Module]) -> Iterator[str]:
    for module in modules.values():
        lines = len(module.path.read_text(encoding="utf-8").splitlines())
        if lines > LINES_OF_A_FILE:
            yield f"{module.name} has {lines} lines, and {LINES_OF_A_FILE} are allowed"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > LINES_OF_A_FUNCTION:
                yield f"{module.name}:{node.lineno} {node.name} has {length(node)} lines, not {LINES_OF_A_FUNCTION}"


def crowded_folders(package: Path, modules: dict[str, Module]) -> Iterator[str]:
    for folder in sorted({module.path.parent for module in modules.values()}):
        count = len(list(folder.glob("*.py")))
        if count > MODULES_OF_A_FOLDER and folder != package / "models":
            yield f"{folder.name} holds {count} modules, and {MODULES_OF_A_FOLDER} are allowed"


def shared_class_names(package: Path, modules: dict[str, Module]) -> Iterator[str]:
    """Two public classes of one name."""
    owners: dict[str, str] = {}
    for module in modules.values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                if node.name in owners:
                    yield f"{node.name} is a class of {owners[node.name]} and of {module.name}"
                owners[node.name] = module.name


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, the docstring excluded."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return lines


Rule = Callable[[Path, dict[str, Module]], Iterator[str]]
RULES: list[Rule] = [
    layout,
    ladder,
    rooms,
    circles,
    own_imports_in_functions,
    heavy_imports,
    sizes,
    crowded_folders,
    shared_class_names,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_pyrogen_keeps(rule: Rule) -> None:
    modules = read(PACKAGE)
    assert len(modules) > len(LADDER) // 2, "the source was not found"
    problems = list(rule(PACKAGE, modules))
    assert not problems, "\n".join(problems)


def test_the_ladder_has_no_circles() -> None:
    """An entry may import only what is above it in the table."""
    for place, (name, allowed) in enumerate(LADDER.items()):
        assert set(allowed.split()) - {"__init__"} <= set(list(LADDER)[:place]), name


class Tree(NamedTuple):
    """A small package that breaks one rule, and what the rule must say."""

    rule: Rule
    said: str
    files: dict[str, str]


LONG = "def f():\n" + "    x = 1\n" * 39
TYPES = "if TYPE_CHECKING:\n    from "
TREES = {
    "unlisted_folder": Tree(layout, "things is not listed", {"things/__init__.py": ""}),
    "unlisted_file": Tree(layout, "things.py is not listed", {"things.py": ""}),
    "unlisted_data": Tree(layout, "story.json is not listed", {"story.json": ""}),
    "utils": Tree(layout, "data._utils: no utils", {"data/__init__.py": "", "data/_utils.py": ""}),
    "utils_folder": Tree(layout, "nn.utils: no utils", {"nn/__init__.py": "", "nn/utils/__init__.py": ""}),
    "no_init": Tree(layout, "nn.dense lies in a folder without __init__", {"nn/dense.py": ""}),
    "ladder": Tree(ladder, "nn.dense:1 may not import story", {"nn/dense.py": "import pyrogen.story.plate"}),
    "ladder_name": Tree(ladder, "may not import nn", {"data/a.py": "from pyrogen import nn", "nn/__init__.py": ""}),
    "ladder_relative": Tree(ladder, "may not import models", {"inference/a.py": "from ..models.vae import VAE"}),
    "ladder_init": Tree(ladder, "pyrogen.data:1 may not import nn", {"data/__init__.py": "from ..nn import x"}),
    "ladder_types": Tree(ladder, "nn.a:2 may not import data", {"nn/a.py": TYPES + "pyrogen.data import x"}),
    "ladder_face": Tree(ladder, "may not import __init__", {"models/a.py": "from pyrogen import Story"}),
    "ladder_cli": Tree(ladder, "catalog:1 may not import cli", {"catalog.py": "import pyrogen.cli"}),
    "ladder_call": Tree(ladder, "may not import data", {"nn/a.py": "importlib.import_module('pyrogen.data')"}),
    "circle": Tree(
        circles,
        "circle pyrogen.nn.a -> pyrogen.nn.b -> pyrogen.nn.a",
        {"nn/a.py": "from . import b", "nn/b.py": "from pyrogen.nn.a import x"},
    ),
    "circle_of_three": Tree(
        circles,
        "circle pyrogen.nn.a -> pyrogen.nn.b -> pyrogen.nn.c -> pyrogen.nn.a",
        {"nn/a.py": "from .b import x", "nn/b.py": "from .c import x", "nn/c.py": "import pyrogen.nn.a"},
    ),
    "circle_by_init": Tree(
        circles,
        "circle pyrogen.nn -> pyrogen.nn.a -> pyrogen.nn",
        {"nn/__init__.py": "from .a import x", "nn/a.py": "from pyrogen.nn import x"},
    ),
    "circle_of_types": Tree(
        circles,
        "circle pyrogen.nn.a -> pyrogen.nn.b -> pyrogen.nn.a",
        {"nn/a.py": TYPES + ".b import x", "nn/b.py": "from .a import x"},
    ),
    "room_above": Tree(
        rooms,
        "pyrogen.inference.program.a:1 may not import the room inference.training",
        {"inference/program/a.py": "from pyrogen.inference.training.b import x", "inference/training/b.py": ""},
    ),
    "room_above_for_types": Tree(
        rooms,
        "may not import the room diagnostics.report",
        {"diagnostics/core/a.py": TYPES + "..report.b import x", "diagnostics/report/b.py": ""},
    ),
    "room_above_module": Tree(
        rooms,
        "may not import the room inference.",
        {"inference/svi/a.py": "from pyrogen.inference.fit import fit", "inference/fit.py": ""},
    ),
    "room_unlisted": Tree(rooms, "nn.audio is not listed as a room", {"nn/audio/__init__.py": ""}),
    "crowded": Tree(crowded_folders, "data holds 15 modules", {f"data/m{i}.py": "" for i in range(15)}),
    "class_twice": Tree(
        shared_class_names,
        "A is a class of pyrogen.data.a and of pyrogen.nn.a",
        {"data/a.py": "class A: ...", "nn/a.py": "class A: ..."},
    ),
    "function": Tree(own_imports_in_functions, "nn.a:2", {"nn/a.py": "def f():\n    from .b import x"}),
    "method": Tree(
        own_imports_in_functions,
        "nn.a:4 imports pyrogen.nn inside a function",
        {"nn/a.py": "class A:\n    async def f(self):\n        if 1:\n            import pyrogen.nn"},
    ),
    "call": Tree(own_imports_in_functions, "pyrogen.nn.b", {"nn/a.py": "def f():\n    import_module('.b')"}),
    "heavy": Tree(
        heavy_imports, "plots.a:1 imports matplotlib.pyplot", {"plots/a.py": "import matplotlib.pyplot as plt"}
    ),
    "heavy_try": Tree(heavy_imports, "PIL", {"data/a.py": "try:\n    from PIL import Image\nexcept ImportError: ..."}),
    "heavy_else": Tree(
        heavy_imports, "a:4 imports sklearn", {"data/a.py": TYPES + "x import y\nelse:\n    import sklearn"}
    ),
    "heavy_class": Tree(heavy_imports, "arviz_stats", {"plots/a.py": "class A:\n    import arviz_stats"}),
    "heavy_of_torch": Tree(heavy_imports, "tensorboard", {"inference/a.py": "from torch.utils.tensorboard import x"}),
    "terminal": Tree(heavy_imports, "inference.fit:1 imports rich", {"inference/fit.py": "import rich.progress"}),
    "long_file": Tree(sizes, "nn.a has 300 lines", {"nn/a.py": "#\n" * 300}),
    "long_function": Tree(sizes, "nn.a:1 f has 41 lines", {"nn/a.py": LONG + "    y = 1"}),
    "long_method": Tree(
        sizes, "nn.a:3 f has 41 lines", {"nn/a.py": "class A:\n    @x\n" + indent(LONG + "    y = 1", "    ")}
    ),
}
CLEAN = {
    "story/__init__.py": "from pyrogen.story.plate import p\nfrom . import sites\n",
    "story/plate.py": "",
    "story/sites.py": "from .plate import p\nfrom pyrogen.story import plate",
    "nn/__init__.py": '"""' + "\n" * 200 + '"""\n' + LONG + "#\n" * 50,
    "data/__init__.py": LONG.replace("():", '():\n    """\n' + "\n" * 200 + '    """'),
    "models/__init__.py": "import pyrogen.nn\nfrom .. import story\nfrom torch import nn",
    "plots/__init__.py": TYPES + "xarray import x\ndef draw():\n    import matplotlib.pyplot",
    "inference/__init__.py": "",
    "inference/training/__init__.py": "",
    "inference/training/progress.py": "from rich.progress import Progress",
    "diagnostics/report.html": "",
    "cli/__init__.py": "import typer\nfrom pyrogen import __version__\nfrom pyrogen.plots import x",
    "py.typed": "",
}


def plant(root: Path, files: dict[str, str]) -> dict[str, Module]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return read(root)


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_the_rules_catch(tmp_path: Path, tree: Tree) -> None:
    problems = list(tree.rule(tmp_path, plant(tmp_path, tree.files)))
    assert any(tree.said in problem for problem in problems), problems


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rules_let_through_what_is_clean(tmp_path: Path, rule: Rule) -> None:
    assert not list(rule(tmp_path, plant(tmp_path, CLEAN)))


IMPORT = """
import sys, time
import pyro
start = time.perf_counter()
import {name}
print(time.perf_counter() - start, *(module for module in sys.modules if "." not in module))
"""


def import_anew(name: str) -> tuple[float, set[str]]:
    """Seconds that an import takes beyond Pyro's own, and what it loaded, in a new process."""
    # Without bytecode every import would compile the source anew.
    world = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", IMPORT.format(name=name)]
    seconds, *loaded = subprocess.run(command, capture_output=True, text=True, check=True, env=world).stdout.split()
    return float(seconds), set(loaded)


def test_import_is_light() -> None:
    best = float("inf")
    for _ in range(5):  # the machine may be busy
        seconds, loaded = import_anew("pyrogen")
        assert not HEAVY & loaded
        best = min(best, seconds)
        if best <= SECONDS_BEYOND_PYRO:
            return
    pytest.fail(f"import pyrogen takes {best:.2f} s beyond importing Pyro, and {SECONDS_BEYOND_PYRO} s are allowed")


def test_a_heavy_import_would_be_seen() -> None:
    _, loaded = import_anew("sklearn.datasets")
    assert {"sklearn", "scipy"} <= HEAVY & loaded
