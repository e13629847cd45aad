"""Shared by commands: errors with exit codes, output, NATS, manifests in files, and a whole system as processes."""
