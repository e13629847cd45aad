"""A plain Kubernetes hub: the objects that it needs, and the connection to it."""
