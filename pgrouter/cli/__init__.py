"""Commands: a module each, with `add_arguments(parser)` and `run(args) -> int`, the exit code."""
