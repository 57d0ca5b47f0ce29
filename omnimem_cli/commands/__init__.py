"""One file per command: options, a job, an exit code."""
