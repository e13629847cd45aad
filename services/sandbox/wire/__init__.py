"""Requests and responses: HTTP, paths, encodings, Tables, API discovery, and faults on demand."""
