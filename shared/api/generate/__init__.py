"""Generators: CRDs, kcp schemas and the reference page from the typed model, and admission. Only the build needs it."""
