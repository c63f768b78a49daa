"""The command line: one file per command."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import infomech
from infomech._core import extras

#: module and class of each command; a dict is a group of commands
COMMANDS: dict[str, Any] = {
    "law": "law.Law",
    "kernel": "kernel.Kernel",
    "simulate": "simulate.Simulate",
    "scatter": "scatter.Scatter",
    "census": "census.Census",
    "drift": "drift.Drift",
    "sweep": {
        "run": "sweep.SweepRun",
        "status": "sweep.SweepStatus",
        "export": "sweep.SweepExport",
    },
    "design": "design.Design",
    "plan": "plan.PlanCommand",
    "doctor": "doctor.Doctor",
}

#: description of each group
GROUPS = {
    "infomech": "The mechanics of CNN filtering: how kernels move and spread images.",
    "infomech sweep": "Run many kernels and settings and store the results, labeled, on disk.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 1 if a check failed, or 2 for a bad argument."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--version"]:
        print(f"infomech {infomech.__version__}")
        return 0
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # reader closed the pipe; silence the second BrokenPipeError at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, extras.MissingExtraError) as error:
        return _print_error(error)


def _print_error(error: Exception) -> int:
    """Prints an error on one line; returns the exit code."""
    print(f"infomech: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def _run(words: list[str]) -> int:
    """Runs the command named by the first words with the rest as its arguments."""
    # slow imports, not needed for --version
    with extras.needed("cli", "the command line"):
        import tyro

        from infomech.cli.words import check

        prog, entry, rest = _find(words)
        if isinstance(entry, dict):
            print(_listing(prog, entry))
            return 0
        # import only the requested command
        kind = _class(entry)
    check(kind, prog, rest)
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    return tyro.cli(kind, prog=prog, args=rest, config=config).run()


def _find(words: list[str]) -> tuple[str, Any, list[str]]:
    """Full name of the command, its entry in `COMMANDS`, and the remaining words.

    The entry is a group if its help is requested. Raises ValueError for an unknown command.
    """
    from infomech.cli.words import suggestion, usage_error

    prog, entry = "infomech", COMMANDS
    for i, word in enumerate(words):
        if not isinstance(entry, dict):
            return prog, entry, words[i:]
        if word in ("-h", "--help"):
            return prog, entry, []
        if word not in entry:
            kind = "option" if word.startswith("-") else "command"
            hint = suggestion(word, entry)
            if "run" in entry and kind == "command" and not hint:
                hint = f" (did you mean {prog} run {word}?)"
            raise usage_error(prog, f"unrecognized {kind} {word}{hint}")
        prog, entry = f"{prog} {word}", entry[word]
    if isinstance(entry, dict):
        raise usage_error(prog, f"got no command, expected one of {', '.join(entry)}")
    return prog, entry, []


def _class(path: str) -> Any:
    """The class of a command; its `run` executes it."""
    module, name = path.split(".")
    return getattr(importlib.import_module(f"infomech.cli.{module}"), name)


def _listing(prog: str, group: dict[str, Any]) -> str:
    """Help text of a group: one line per command."""
    width = max(map(len, group))
    lines = [
        f"  {name:<{width}}  {GROUPS.get(f'{prog} {name}') or _class(path).__doc__.splitlines()[0]}"
        for name, path in group.items()
    ]
    version = " [--version]" if prog == "infomech" else ""
    return "\n".join(
        [
            f"usage: {prog} [-h]{version} COMMAND ...",
            "",
            GROUPS[prog],
            "",
            "commands:",
            *lines,
            "",
            f"{prog} COMMAND --help lists the options of a command.",
        ]
    )
