"""Generators from the typed model: CRDs, kcp schemas, the reference page. Only the build needs it."""
