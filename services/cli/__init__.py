"""The `moorage` command.

Each module is one command: `add_parser` declares it, `run` does it and returns the exit code.
"""
