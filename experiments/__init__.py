"""One module per claim of the papers, run by `python -m experiments NAME`."""
