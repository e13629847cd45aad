"""Worlds as data, target clusters with a simulator of their workloads, and the sandbox's own API."""
