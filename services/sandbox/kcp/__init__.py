"""Exports, bindings, and the virtual workspaces in which an export sees its consumers."""
