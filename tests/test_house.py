"""The rules of the house that no other tool checks; CONTRIBUTING.md lists them all.

A rule reads one parsed file and says what breaks it, with the line. The last tests plant
every violation once and see it found.
"""

import ast
import io
import logging
import re
import tokenize
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final, TypeAlias

import pytest

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = "src/backline/"
MODULE_LINES: Final = 400
FUNCTION_LINES: Final = 50

# Third parties that have one way into the house.
DOORS: Final = {
    "apsw": "stores/sqlite/",
    "click": "cli/",
    "cronsim": "schedule/",
    "jinja2": "demo/",
    "PIL": "demo/",
    "starlette": "demo/",
    "uvicorn": "demo/",
}
CLOCKS: Final = (f"{PACKAGE}clock.py", f"{PACKAGE}testing/clock.py")
# What a `Clock` alone may touch. Drawing from a given `random.Random` is fine.
CLOCK_ONLY: Final = {
    "asyncio": {"to_thread"},
    "concurrent.futures": {"ProcessPoolExecutor", "ThreadPoolExecutor"},
    "datetime": {"now", "today", "utcnow"},
    "random": {"choice", "choices", "getrandbits", "randint", "random", "randrange", "shuffle"}
    | {"expovariate", "gauss", "sample", "seed", "uniform", "SystemRandom"},
    "threading": {"Thread", "Timer"},
    "time": {"clock_gettime", "clock_gettime_ns", "monotonic", "monotonic_ns", "perf_counter"}
    | {"perf_counter_ns", "sleep", "time", "time_ns"},
    "uuid": {"uuid1", "uuid4", "uuid7"},
}
# `open_store` imports a store, and with it its extra, only when a URL asks for it.
LAZY_IMPORTS: Final = f"{PACKAGE}stores/__init__.py"
# Methods whose meaning the standard library gives.
STANDARD: Final = {
    name for base in (AbstractEventLoop, Executor, logging.Handler) for name in dir(base)
}
# Its loop jumps to the next timer: a test that brings it may sleep for a year.
VIRTUAL_TIME: Final = (
    "backline.testing.idempotence",
    "backline.testing.loop",
    "backline.testing.process",
)
PRINTERS: Final = (f"{PACKAGE}cli/", f"{PACKAGE}demo/")

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTION: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITION: Final = (*FUNCTION, ast.ClassDef)


@cache
def _parsed(text: str, path: str) -> ast.Module:
    return ast.parse(text, path)


@dataclass(frozen=True)
class Source:
    """A file of ours: its path below the root, its text, its tree."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.text, self.path)

    @property
    def module(self) -> str:
        name = self.path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        return name.removesuffix(".__init__")

    @property
    def ours(self) -> bool:
        """Part of the package, not of its tests."""
        return self.path.startswith(PACKAGE)


Rule: TypeAlias = Callable[[Source], Iterator[str]]


def found(source: Source, node: ast.AST, what: str) -> str:
    return f"{source.path}:{getattr(node, 'lineno', 1)}: {what}"


def dotted(node: ast.AST) -> str:
    """`time.sleep` for the expression that says so; empty for what is no plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (left := dotted(node.value)):
        return f"{left}.{node.attr}"
    return ""


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import, inside functions too; not those under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif not (isinstance(node, ast.If) and dotted(node.test).endswith("TYPE_CHECKING")):
            yield from imports(node)


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The dotted names an import brings in, aliases undone."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names]


# ------------------------------------------------------------------------------ the rules


def modules_are_short(source: Source) -> Iterator[str]:
    if source.ours and (lines := source.text.count("\n")) > MODULE_LINES:
        yield f"{source.path}: {lines} lines; over {MODULE_LINES} a module becomes a folder"


def functions_are_short(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, FUNCTION):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield found(source, node, f"{node.name} has {lines} lines of {FUNCTION_LINES}")


def time_and_chance_come_through_the_clock(source: Source) -> Iterator[str]:
    if not source.ours or source.path in CLOCKS:
        return
    called = {id(node.func) for node in ast.walk(source.tree) if isinstance(node, ast.Call)}
    for node in ast.walk(source.tree):
        names = imported(node) if isinstance(node, ast.ImportFrom) else [dotted(node)]
        for name in names:
            owner, _, attribute = name.rpartition(".")
            annotates = attribute[:1].isupper() and id(node) not in called
            if attribute in CLOCK_ONLY.get(owner.removeprefix("datetime."), ()) and not annotates:
                yield found(source, node, f"{name}: take it from the Clock")


def no_test_sleeps(source: Source) -> Iterator[str]:
    if not source.path.startswith(("tests/", f"{PACKAGE}testing/")):
        return
    names = [name for node in imports(source.tree) for name in imported(node)]
    virtual = any(name.startswith(VIRTUAL_TIME) for name in names)
    for node in ast.walk(source.tree):
        name = dotted(node.func) if isinstance(node, ast.Call) else ""
        waits = name == "asyncio.sleep" and not virtual and not ast.unparse(node).endswith("(0)")
        if name == "time.sleep" or waits:
            yield found(source, node, f"{name}: wait for the event itself, or on virtual time")


def third_parties_stay_behind_their_doors(source: Source) -> Iterator[str]:
    for node in imports(source.tree) if source.ours else ():
        for name in imported(node):
            door = DOORS.get(name.partition(".")[0])
            if door and not source.path.startswith(PACKAGE + door):
                yield found(source, node, f"{name} may be imported under {door} only")


def imports_stand_at_the_top(source: Source) -> Iterator[str]:
    if not source.ours or source.path == LAZY_IMPORTS:
        return
    for function in ast.walk(source.tree):
        if isinstance(function, FUNCTION):
            for node in imports(function):
                yield found(source, node, f"import inside {function.name}")


def nothing_is_pickled_or_printed(source: Source) -> Iterator[str]:
    if not source.ours:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            if any(name.split(".")[0] in ("pickle", "marshal") for name in imported(node)):
                yield found(source, node, "a payload is JSON")
        elif dotted(node) == "print" and not source.path.startswith(PRINTERS):
            yield found(source, node, "print: log it, or leave it to the command line")


def nothing_is_left_for_later(source: Source) -> Iterator[str]:
    words = re.compile(r"\b(TODO|FIXME|XXX)\b")
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and words.search(token.string):
            yield f"{source.path}:{token.start[0]}: {token.string}"


RULES: Final[tuple[Rule, ...]] = (
    modules_are_short,
    functions_are_short,
    time_and_chance_come_through_the_clock,
    no_test_sleeps,
    third_parties_stay_behind_their_doors,
    imports_stand_at_the_top,
    nothing_is_pickled_or_printed,
    nothing_is_left_for_later,
)


def undocumented(sources: list[Source]) -> list[str]:
    """Public functions, classes and methods of the package that say nothing of themselves.

    A method that fulfils a documented one of the same name (a protocol's, a base's, one of
    the standard library's) need not repeat it, and the name of a test is a sentence.
    """
    trees = [(source, source.tree) for source in sources if source.ours]
    classes = [
        node for _, tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
    ]
    methods = (node for owner in classes for node in owner.body if isinstance(node, FUNCTION))
    documented = STANDARD | {method.name for method in methods if ast.get_docstring(method)}
    silent: list[str] = []
    for source, tree in trees:
        outer = [node for node in tree.body if isinstance(node, DEFINITION)]
        owners = [node for node in outer if isinstance(node, ast.ClassDef) and public(node)]
        inner = [node for owner in owners for node in owner.body if isinstance(node, FUNCTION)]
        silent += [
            found(source, node, f"{node.name} has no docstring")
            for node in [*filter(public, outer), *filter(public, inner)]
            if not ast.get_docstring(node) and not (node in inner and node.name in documented)
        ]
    return silent


def public(node: Function | ast.ClassDef) -> bool:
    decorators = {dotted(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return not node.name.startswith(("_", "test_")) and not decorators & {"overload", "setter"}


def cycle(sources: list[Source]) -> list[str]:
    """One circle of modules that import each other, lazily or not; empty if there is none."""
    modules = {source.module: source for source in sources if source.ours}
    graph: TopologicalSorter[str] = TopologicalSorter()
    for module, source in modules.items():
        tree = source.tree
        lazy = {id(node) for f in ast.walk(tree) if isinstance(f, FUNCTION) for node in imports(f)}
        for node in imports(tree):
            if source.path == LAZY_IMPORTS and id(node) in lazy:
                continue
            for name in imported(node):
                target = name if name in modules else name.rpartition(".")[0]
                if target in modules and target != module:
                    graph.add(module, target)
    try:
        graph.prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


# ------------------------------------------------------------------------------ the house

SOURCES: Final = [
    Source(path.relative_to(ROOT).as_posix(), path.read_text())
    for folder in ("src", "tests", "bench", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path != Path(__file__)
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Rule) -> None:
    findings = [finding for source in SOURCES for finding in rule(source)]
    assert not findings, "\n".join(findings)


def test_what_is_public_is_documented() -> None:
    findings = undocumented(SOURCES)
    assert not findings, "\n".join(findings)


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not cycle(SOURCES)


# --------------------------------------------------------------- the rules catch what they say

PLANTED: Final = [
    (modules_are_short, "src/backline/a.py", "x = 1\n" * 401, "x = 1\n" * 400),
    (functions_are_short, "tests/a.py", "def f():\n" + " x\n" * 50, "def f():\n" + " x\n" * 49),
    (time_and_chance_come_through_the_clock, "src/backline/a.py", "import time\ntime.time()", ""),
    (time_and_chance_come_through_the_clock, "src/backline/a.py", "from uuid import uuid4", ""),
    (
        time_and_chance_come_through_the_clock,
        "src/backline/worker/a.py",
        "import datetime\nx = datetime.datetime.now()",
        "import random\ndef f(rng: random.Random, t: threading.Thread): return rng.random()",
    ),
    (
        time_and_chance_come_through_the_clock,
        "src/backline/a.py",
        "import random\nrandom.random()",
        "",
    ),
    (time_and_chance_come_through_the_clock, "src/backline/a.py", "threading.Thread()", ""),
    (no_test_sleeps, "tests/a.py", "time.sleep(1)", "asyncio.sleep(0)"),
    (
        no_test_sleeps,
        "tests/a.py",
        "asyncio.sleep(d)",
        "from backline.testing.loop import x\nasyncio.sleep(9)",
    ),
    (
        third_parties_stay_behind_their_doors,
        "src/backline/stores/sqlite/a.py",
        "def f():\n from starlette.requests import Request",
        "import apsw",
    ),
    (third_parties_stay_behind_their_doors, "src/backline/queue.py", "import apsw.ext", ""),
    (imports_stand_at_the_top, "src/backline/a.py", "async def f():\n import os", "import os"),
    (nothing_is_pickled_or_printed, "src/backline/a.py", "from pickle import loads", ""),
    (nothing_is_pickled_or_printed, "src/backline/a.py", "print(1)", "log.info(1)"),
    (nothing_is_left_for_later, "bench/a.py", "x = 1  # TODO: more", "x = 'TODO'"),
]


@pytest.mark.parametrize(("rule", "path", "bad", "good"), PLANTED)
def test_a_planted_violation_is_found(rule: Rule, path: str, bad: str, good: str) -> None:
    assert list(rule(Source(path, bad)))
    assert not list(rule(Source(path, good)))


def test_exemptions_end_where_they_say() -> None:
    lazy = "def open_store(url):\n from backline.stores.sqlite import store"
    assert not list(imports_stand_at_the_top(Source(LAZY_IMPORTS, lazy)))
    assert not list(nothing_is_pickled_or_printed(Source("src/backline/cli/a.py", "print(1)")))
    assert not list(
        time_and_chance_come_through_the_clock(Source("src/backline/clock.py", "time.time()"))
    )


def test_a_planted_silence_is_found() -> None:
    protocol = 'class Store:\n """Doc."""\n def get(self):\n  """Doc."""\n'
    store = (
        'class Memory:\n """Doc."""\n def get(self): ...\n def put(self): ...\n def _x(self): ...\n'
    )
    sources = [Source("src/backline/a.py", protocol), Source("src/backline/b.py", store)]
    assert undocumented(sources) == ["src/backline/b.py:4: put has no docstring"]
    assert undocumented(
        [Source("src/backline/c.py", "class C: ...\ndef f(): ...\ndef _g(): ...")]
    ) == [
        "src/backline/c.py:1: C has no docstring",
        "src/backline/c.py:2: f has no docstring",
    ]


def test_a_planted_circle_is_found() -> None:
    eager = Source("src/backline/a.py", "from backline.b import x")
    lazy = Source("src/backline/b.py", "def f():\n from backline import a")
    typed = Source("src/backline/b.py", "if TYPE_CHECKING:\n from backline import a")
    assert set(cycle([eager, lazy])) == {"backline.a", "backline.b"}
    assert not cycle([eager, typed])
