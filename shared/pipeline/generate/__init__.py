"""Generators: AsyncAPI and JSON Schemas of what tenants send and receive, from the structs. Only the build needs it."""
