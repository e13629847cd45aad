"""The hub as Moorage sees it: our resources and names, workspaces, the way to target clusters."""
