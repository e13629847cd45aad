"""Decisions on manifests alone, with no server: a plane on paper, and the pipeline's own code run on it."""
