"""The command line: one file per command."""

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0, 1 if a check failed, 2 after a line about a bad argument."""
    try:
        import tyro

        from infomech.cli import (
            census,
            design,
            doctor,
            drift,
            kernel,
            law,
            plan,
            scatter,
            simulate,
            sweep,
        )  # fmt: skip
    except ImportError as error:
        missing = f"{error.name} is not installed: pip install 'infomech[cli]'"
        print(f"infomech: {missing}", file=sys.stderr)
        return 2
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            {
                "law": law.Law,
                "kernel": kernel.Kernel,
                "simulate": simulate.Simulate,
                "scatter": scatter.Scatter,
                "census": census.Census,
                "drift": drift.Drift,
                "sweep": sweep.Sweep,
                "sweep-status": sweep.SweepStatus,
                "sweep-export": sweep.SweepExport,
                "design": design.Design,
                "plan": plan.PlanCommand,
                "doctor": doctor.Doctor,
            },
            prog="infomech",
            args=_joined(sys.argv[1:] if arguments is None else list(arguments)),
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
    except ValueError as error:
        print(f"infomech: {' '.join(str(error).split())}", file=sys.stderr)
        return 2


def _joined(words: list[str]) -> list[str]:
    """With `sweep status` and `sweep export`, which are commands of their own, as one word."""
    if words[:1] == ["sweep"] and words[1:2] in (["status"], ["export"]):
        return [f"sweep-{words[1]}", *words[2:]]
    return words
