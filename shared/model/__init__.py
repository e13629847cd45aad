"""The values inside messages and state: frozen, comparable, free of I/O."""
