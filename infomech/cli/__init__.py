"""The command line: one file per command."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import infomech
from infomech._core import extras

#: file and class of each command, or a group of commands
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

#: what each group of commands is for
GROUPS = {
    "infomech": "The mechanics of CNN filtering: how kernels move and spread images.",
    "infomech sweep": "Run many kernels and settings and store the results, labeled, on disk.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 1 if a check failed, 2 after a line about a bad argument."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["--version"]:
        print(f"infomech {infomech.__version__}")
        return 0
    try:
        code = _run(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # who read the output has gone; Python would say so once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, extras.MissingExtraError) as error:
        return _refused(error)


def _refused(error: Exception) -> int:
    """Says in one line what is wrong; the exit code."""
    print(f"infomech: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


def _run(words: list[str]) -> int:
    """Runs the command that the first words name, with the others as its arguments."""
    # what may take long to import isn't for --version
    with extras.needed("cli", "the command line"):
        import tyro

        from infomech.cli.words import check

        prog, found, rest = _find(words)
        if isinstance(found, dict):
            print(_listing(prog, found))
            return 0
        # who asks for one command need not wait for what the others import
        kind = _class(found)
    check(kind, prog, rest)
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    return tyro.cli(kind, prog=prog, args=rest, config=config).run()


def _find(words: list[str]) -> tuple[str, Any, list[str]]:
    """The command named, as it is typed and in `COMMANDS`, and the words left for it.

    It is a group if help on that is asked for. Raises ValueError for an unknown command.
    """
    from infomech.cli.words import meant, misuse

    prog, found = "infomech", COMMANDS
    for place, word in enumerate(words):
        if not isinstance(found, dict):
            return prog, found, words[place:]
        if word in ("-h", "--help"):
            return prog, found, []
        if word not in found:
            what = "option" if word.startswith("-") else "command"
            hint = meant(word, found)
            if "run" in found and what == "command" and not hint:
                hint = f" (did you mean {prog} run {word}?)"
            raise misuse(prog, f"unrecognized {what} {word}{hint}")
        prog, found = f"{prog} {word}", found[word]
    if isinstance(found, dict):
        raise misuse(prog, f"got no command, expected one of {', '.join(found)}")
    return prog, found, []


def _class(place: str) -> Any:
    """The class of a command, whose `run` does what it is for."""
    module, name = place.split(".")
    return getattr(importlib.import_module(f"infomech.cli.{module}"), name)


def _listing(prog: str, group: dict[str, Any]) -> str:
    """The commands of a group, with a line on each."""
    wide = max(map(len, group))
    lines = [
        f"  {name:<{wide}}  {GROUPS.get(f'{prog} {name}') or _class(place).__doc__.splitlines()[0]}"
        for name, place in group.items()
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
