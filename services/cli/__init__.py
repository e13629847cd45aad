"""The `moorage` command.

Each module is one command: `add_parser` declares it, `run` does it and returns the exit code. What they share is in
`support`, what concerns a plain Kubernetes hub in `hub`, and decisions without a server in `offline`.
"""
