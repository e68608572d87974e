"""One file per bench: `TITLE`, and `run(stage)`, which yields figures named `<file>.<what>`."""
