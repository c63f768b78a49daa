"""Code shared by all modules: argument checks, safe math, checkpointed scans, files, extras."""
