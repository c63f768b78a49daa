"""Speed beside peers, side by side in one run: `python -m benchmarks.rollout`."""
