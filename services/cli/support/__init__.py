"""What commands share: errors with exit codes, the connection to NATS, child processes, manifests in files."""
