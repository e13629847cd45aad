"""A target cluster: the way to it, and what one Placement has in it."""
