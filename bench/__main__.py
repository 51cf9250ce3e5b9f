"""`python -m bench [NAME...]`: measure, print, keep."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench import drain, enqueue, footprint, idle, machine, memory, million
from bench.processes import ROOT
from bench.report import Finding, markdown, text
from bench.settings import FOLDER, FULL, QUICK, Size, scratch

Benchmark = Callable[[Size, Path], list[Finding]]

BENCHMARKS: Final[Mapping[str, Benchmark]] = {
    "footprint": footprint.run,
    "memory": memory.run,
    "enqueue": enqueue.run,
    "drain": drain.run,
    "idle": idle.run,
    "million": million.run,
}
LIMIT_S: Final = 1_200.0
"""How long one benchmark may take, with its processes, before it is ended."""
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


class Results(msgspec.Struct, frozen=True):
    """What `--json` keeps."""

    machine: dict[str, str]
    findings: list[Finding]


def main() -> int:
    """Exit status: 0 every bar is reached, 1 one is missed, 2 bad usage or no figures."""
    options = _options()
    size = QUICK if options.quick else FULL
    if options.alone:
        return _measure(options.names[0], size, options.alone)
    with scratch() as folder:
        facts = machine.facts(folder)
        _show_facts(facts, quick=options.quick)
        if machine.file_system(folder) in _IN_MEMORY:
            print(f"{folder} is memory: name a folder on a disk in ${FOLDER}", file=sys.stderr)
            return 2
        findings, failures = _all(options.names or list(BENCHMARKS), folder, quick=options.quick)
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(Results(facts, findings))))
    if options.markdown:
        options.markdown.write_text(markdown(facts, findings))
    missed = [found for found in findings if found.failed]
    print(f"{len(findings)} figures, {len(missed)} bars missed, {len(failures)} without figures")
    return 2 if failures else int(bool(missed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="small sizes: does it work at all")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="keep them as a page")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = set(options.names) - BENCHMARKS.keys()
    if unknown:
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}"
        )
    return options


def _all(names: Sequence[str], folder: Path, *, quick: bool) -> tuple[list[Finding], list[str]]:
    """Each benchmark in a process of its own, so that none inherits another's heap."""
    findings: list[Finding] = []
    failures: list[str] = []
    for name in names:
        print(f"\n{name}", flush=True)
        start = time.monotonic()
        place = folder / name
        place.mkdir()
        found = _alone(name, place, quick=quick)
        if found is None:
            failures.append(name)
            continue
        findings += found
        print(text(found))
        print(f"  ({time.monotonic() - start:.0f} s)", flush=True)
    print()
    return findings, failures


def _alone(name: str, folder: Path, *, quick: bool) -> list[Finding] | None:
    answer = folder / "answer.json"
    command = [sys.executable, "-m", "bench", name, "--alone", str(answer)]
    if quick:
        command.append("--quick")
    # A group of its own: whatever it started ends with it.
    popen = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        popen.wait(LIMIT_S)
    except subprocess.TimeoutExpired:
        print(f"  {name} took more than {LIMIT_S:g} s and was ended", file=sys.stderr)
    finally:
        _end_group(popen)
    if popen.returncode or not answer.exists():
        print(f"  {name} failed", file=sys.stderr)
        return None
    return msgspec.json.decode(answer.read_bytes(), type=list[Finding])


def _end_group(popen: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    popen.wait()


def _measure(name: str, size: Size, answer: Path) -> int:
    """What the process of one benchmark does."""
    answer.write_bytes(msgspec.json.encode(BENCHMARKS[name](size, answer.parent)))
    return 0


def _show_facts(facts: Mapping[str, str], *, quick: bool) -> None:
    for name, fact in facts.items():
        print(f"{name:24}  {fact}")
    if quick:
        print("small sizes: these figures say that it works, not how fast")


if __name__ == "__main__":
    raise SystemExit(main())
