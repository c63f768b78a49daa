"""`infomech doctor`: versions, devices, and a check for miscompiled batches of small arrays."""

from dataclasses import dataclass

import jax

from infomech._core import files
from infomech._core.progress import Progress
from infomech.cli import canary
from infomech.cli.options import show_progress


@dataclass(frozen=True)
class Doctor:
    """Show versions and devices, and compare compiled results with NumPy on small arrays.

    Exit code 1 if the compiler computes wrong numbers.
    """

    full: bool = False
    """Check all lengths and batch sizes, not only the few known to have failed."""
    json: bool = False
    """Print JSON instead of text."""

    def run(self) -> int:
        """Runs the check and prints its findings."""
        # before the check, which enables 64-bit types temporarily
        provenance = files.provenance()
        minors, batches = (canary.MINORS, canary.BATCHES) if self.full else ((3, 7), (40000,))
        dtypes = ("float32", "float64")
        total = len(minors) * len(batches) * len(dtypes) * canary.quantities()
        findings = []
        with jax.enable_x64(True), show_progress("checks", "check") as update:
            for finding in canary.check(minors, batches, dtypes):
                findings.append(finding)
                update(Progress(len(findings), total))
        wrong = [finding for finding in findings if not finding.right]
        facts = {
            **provenance,
            "devices": [str(device) for device in jax.devices()],
            "checks": len(findings),
            "wrong": [finding._asdict() for finding in wrong],
        }
        if self.json:
            print(files.to_json(facts))
            return int(bool(wrong))
        for name, value in facts.items():
            if name != "wrong":
                print(f"{name:<10}{value}")
        for finding in wrong:
            print(
                f"WRONG     {finding.quantity}: off by {finding.error:.2g} in {finding.dtype}, "
                f"{finding.batch} arrays of minor axis {finding.minor}"
            )
        print(
            "This version of jax computes wrong numbers; install another."
            if wrong
            else "Compiled numbers agree with NumPy."
        )
        return int(bool(wrong))
