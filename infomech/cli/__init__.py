"""The command line: one file per command."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from infomech import extras

#: the class of each command, in the file of its (first) name
COMMANDS = {
    "law": "Law",
    "kernel": "Kernel",
    "simulate": "Simulate",
    "scatter": "Scatter",
    "census": "Census",
    "drift": "Drift",
    "sweep": "Sweep",
    "sweep-status": "SweepStatus",
    "sweep-export": "SweepExport",
    "design": "Design",
    "plan": "PlanCommand",
    "doctor": "Doctor",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 1 if a check failed, 2 after a line about a bad argument."""
    arguments = _joined(list(sys.argv[1:] if arguments is None else arguments))
    # who asks for one command need not wait for what the others import
    names = arguments[:1] if arguments and arguments[0] in COMMANDS else list(COMMANDS)
    try:
        with extras.needed("cli", "the command line"):
            import tyro

            known = {name: _command(name) for name in names}
    except extras.MissingExtraError as error:
        return _refused(error)
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            known,
            prog="infomech",
            args=arguments,
            description="The mechanics of CNN filtering: how kernels move and spread images.",
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
        )
        code = command.run()
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


def _joined(words: list[str]) -> list[str]:
    """With `sweep status` and `sweep export`, which are commands of their own, as one word."""
    if words[:1] == ["sweep"] and words[1:2] in (["status"], ["export"]):
        return [f"sweep-{words[1]}", *words[2:]]
    return words


def _command(name: str) -> Any:
    """The class of a command, whose `run` does what it is for."""
    return getattr(
        importlib.import_module(f"infomech.cli.{name.partition('-')[0]}"), COMMANDS[name]
    )
