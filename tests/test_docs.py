"""Every code block of README.md and docs/ runs as it stands; the state diagram is fresh.

The blocks of a page run in order, in one empty folder that starts as the working directory
of each. By language:

    python      run by itself, warnings are errors
    console     every `$ command` is run; the lines below it must appear in its output, in
                order, digits and ids aside; a line `...` stands for any others
    toml, json  must parse
    text, mermaid, sql   shown

An HTML comment right above a block changes that:

    <!-- continues -->     python: the python blocks above it on the page come first
    <!-- file: app.py -->  saved under that name, then imported (python) or left there
    <!-- serves -->        console: stopped by SIGTERM once the lines were seen; exits 0
    <!-- beside -->        console: the same, but it goes on until the end of the page
    <!-- exit: 1 -->       console: the last command exits with this status
    <!-- shown: why -->    not run, for the reason given

`python tests/test_docs.py` writes the diagram anew.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from backline.states import MOVES, QUEUED, TERMINAL

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ARCHITECTURE: Final = ROOT / "docs/explanation/architecture.md"
SECONDS: Final = 60
MARKS: Final = {"beside", "continues", "exit", "file", "serves", "shown"}
_BLOCK: Final = re.compile(
    r"^(?:<!-- (?P<mark>.*?) -->\n\n?)?^```(?P<language>\S*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_FLOOR: Final = re.compile(r"^\| [\w ]+ \| (`.*`) \|.*\|$", re.MULTILINE)
_DIAGRAM: Final = re.compile(r"```mermaid\nstateDiagram.*?```", re.DOTALL)


@dataclass
class Block:
    """A fenced block, and what the comment above it says."""

    language: str
    text: str
    marks: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Command:
    """A line after `$ `, and the lines that should follow."""

    words: list[str]
    env: dict[str, str]
    lines: list[str]


def blocks(page: str) -> Iterator[Block]:
    for match in _BLOCK.finditer(page):
        name, _, value = (match["mark"] or "").partition(": ")
        marks = {name: value} if name in MARKS else {}
        yield Block(match["language"], match["text"], marks)


def commands(text: str) -> list[Command]:
    found: list[Command] = []
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            words = shlex.split(line[2:], comments=True)
            count = next((i for i, word in enumerate(words) if "=" not in word), len(words))
            env = dict(word.split("=", 1) for word in words[:count])
            found.append(Command(words[count:], env, []))
        elif line.strip():
            assert found, f"a console block begins with `$ command`, not {line!r}"
            found[-1].lines.append(line)
    return found


def run_page(page: str, folder: Path) -> None:
    """Run the blocks of a page in `folder`; raises AssertionError for one that fails."""
    with ExitStack() as besides:
        run_blocks(page, folder, besides)


def run_blocks(page: str, folder: Path, besides: ExitStack) -> None:
    above = ""
    for block in blocks(page):
        if "shown" in block.marks:
            assert block.marks["shown"], "say why the block is only shown"
        elif "file" in block.marks:
            path = folder / block.marks["file"]
            path.write_text(block.text)
            if path.suffix == ".py":
                python(folder, f"import {path.stem}")
        elif block.language == "python":
            above = above + block.text if "continues" in block.marks else block.text
            python(folder, above)
        elif "beside" in block.marks:
            [command] = commands(block.text)
            besides.enter_context(beside(folder, command))
        elif block.language == "console":
            console(folder, block)
        else:
            parse(block)


def parse(block: Block) -> None:
    match block.language:
        case "toml":
            tomllib.loads(block.text)
        case "json":
            json.loads(block.text)
        case "text" | "mermaid" | "sql":
            pass
        case unknown:
            raise AssertionError(f"nobody knows how to check {unknown!r}:\n{block.text}")


def python(folder: Path, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=False,
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"


def console(folder: Path, block: Block) -> None:
    todo = commands(block.text)
    for command in todo:
        last = command is todo[-1]
        status = int(block.marks.get("exit", "0")) if last else 0
        program, *arguments = command.words
        if program == "make":
            targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(arguments) <= set(targets), f"no such target: {arguments}"
            continue
        programs = {
            "python": sys.executable,
            "backline": str(Path(sys.executable).parent / program),
        }
        assert program in programs, f"{program} is neither backline nor python; say `shown: why`"
        run_command(
            [programs[program], *arguments],
            folder,
            command,
            status,
            serves=last and "serves" in block.marks,
        )


@contextmanager
def beside(folder: Path, command: Command) -> Iterator[None]:
    """Keep a command running while inside; it must say what it should before."""
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / command.words[0]), *command.words[1:]],
        cwd=folder,
        env=environment(folder) | command.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    too_long = threading.Timer(SECONDS, process.kill)
    too_long.start()
    try:
        output = ""
        while missing(command.lines, output):
            line = process.stdout.readline()
            assert line, f"{command.words} ended:\n{output}"
            output += line
        yield
        process.send_signal(signal.SIGTERM)
        output += process.communicate()[0]
    finally:
        too_long.cancel()
        process.kill()
        process.wait()
        process.stdout.close()
    assert process.returncode == 0, f"{command.words} exited {process.returncode}:\n{output}"


def run_command(
    words: list[str], folder: Path, command: Command, status: int, *, serves: bool
) -> None:
    """Run one command; one that serves is told to stop once it has said what it should."""
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment(folder) | command.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    too_long = threading.Timer(SECONDS, process.kill)
    too_long.start()
    try:
        output = ""
        if serves and process.stdout:
            for line in process.stdout:
                output += line
                if not missing(command.lines, output):
                    break
            process.send_signal(signal.SIGTERM)
        output += process.communicate()[0]
    finally:
        too_long.cancel()
        process.kill()
    assert process.returncode == status, f"{words} exited {process.returncode}:\n{output}"
    absent = missing(command.lines, output)
    assert not absent, f"{words} did not print {absent!r}:\n{output}"


def missing(lines: Iterable[str], output: str) -> str:
    """The first of `lines` that does not follow the others in `output`; empty: none."""
    rest = iter([loosely(line) for line in output.splitlines()])
    for line in lines:
        if line.strip() in {"...", "…"}:
            continue
        if not any(loosely(line) == actual for actual in rest):
            return line
    return ""


def loosely(line: str) -> str:
    """Without what differs from run to run: ids, numbers, times and the width of columns."""
    line = re.sub(r"\b[0-9a-f]{8}-[0-9a-f-]{4,27}", "ID", line)
    line = re.sub(r"\d+([.:,]\d+)*( ?(ms|us|µs|s|m|h|d)\b)?", "N", line)
    line = re.sub(r"\bnow\b|\bN ago\b", "AGO", line)
    return re.sub(r"\s+", " ", line).strip()


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BACKLINE", "PYTHON"))}
    return kept | {"HOME": str(folder), "PYTHONPATH": str(folder), "NO_COLOR": "1"}


def diagram() -> str:
    """The life of a job as `states.MOVES` has it."""
    lines = ["stateDiagram-v2"]
    lines += [f"    [*] --> {state}" for state in MOVES if state in QUEUED]
    for source, targets in MOVES.items():
        for target, effect in targets.items():
            said = " ".join(str(one.name).lower() for one in effect)
            lines.append(f"    {source} --> {target}" + (f": {said}" if said else ""))
    lines += [f"    {state} --> [*]" for state in MOVES if state in TERMINAL]
    return "```mermaid\n" + "\n".join(lines) + "\n```"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    run_page(page.read_text(), tmp_path)


def test_the_diagram_shows_the_moves_there_are() -> None:
    assert diagram() in ARCHITECTURE.read_text(), f"run: python {Path(__file__).relative_to(ROOT)}"


def test_the_table_of_floors_has_every_module_in_the_order_of_the_layers() -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [layers] = [rule["layers"] for rule in rules["contracts"] if rule["id"] == "floors"]
    heights = {name: at for at, layer in enumerate(layers) for name in re.findall(r"\w+", layer)}
    package = ROOT / "src/backline"
    built = {
        name
        for name in heights
        if (package / f"{name}.py").exists() or (package / name / "__init__.py").exists()
    }

    floors = [
        re.findall(r"`(\w+)", modules) for modules in _FLOOR.findall(ARCHITECTURE.read_text())
    ]

    named = [name for floor in floors for name in floor]
    assert built - {"__main__"} <= set(named)
    order = [heights[name] for name in named if name in heights]
    assert order == sorted(order)


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def fenced(language: str, text: str, mark: str = "") -> str:
    return (f"<!-- {mark} -->\n" if mark else "") + f"```{language}\n{text}\n```\n"


APP: Final = fenced("python", "def greet():\n    print('took 12.5 ms')", "file: app.py")
GOOD: Final = [
    fenced("python", "x = 1") + fenced("python", "assert x == 1", "continues"),
    APP + fenced("console", "$ python -c 'import app; app.greet()'\ntook   3 ms"),
    APP + fenced("console", "$ python -c 'import app; app.greet(); app.greet()'\n...\ntook 3 ms"),
    fenced("console", "$ python -c 'raise SystemExit(3)'", "exit: 3"),
    fenced("console", "$ A=b python -c 'import os; print(os.environ[\"A\"])'\nb\n$ make test"),
    fenced("console", "$ git clone it", "shown: it would need a network") + fenced("json", "{}"),
]
STOPS: Final = "import signal, sys; signal.signal(15, lambda *_: sys.exit(0)); print(1, flush=True)"
BAD: Final = [
    fenced("python", "assert False"),
    fenced("python", "x = 1") + fenced("python", "x"),
    fenced("python", "import warnings; warnings.warn('old')"),
    APP + fenced("console", "$ python -c 'import app; app.greet()'\ngave 3 ms"),
    APP + fenced("console", "$ python -c 'import app; app.greet()'\ntook 3 ms\ntook 3 ms"),
    fenced("console", "$ python -c 'raise SystemExit(3)'"),
    fenced("console", "$ git status"),
    fenced("console", "$ make nothing-of-ours"),
    fenced("console", "$ python -c 1", "shown: "),
    fenced("toml", "x ="),
    fenced("", "x"),
]


@pytest.mark.parametrize("page", GOOD)
def test_a_page_that_is_right_passes(page: str, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.parametrize("page", BAD)
def test_a_page_that_is_wrong_fails(page: str, tmp_path: Path) -> None:
    with pytest.raises((AssertionError, ValueError)):
        run_page(page, tmp_path)


def test_a_command_that_serves_is_stopped(tmp_path: Path) -> None:
    page = f"$ python -c '{STOPS}; signal.pause()'\n7"
    run_page(fenced("console", page, "serves"), tmp_path)


if __name__ == "__main__":
    text = ARCHITECTURE.read_text()
    ARCHITECTURE.write_text(_DIAGRAM.sub(lambda _: diagram(), text))
