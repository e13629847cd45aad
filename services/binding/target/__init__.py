"""A target cluster, as binding works in it.

reach.py     the way to the targets, in time and with a breaker for each
breaker.py   a circuit breaker per target (pure)
applyset.py  applies, prunes and releases what one Placement has in one target
parent.py    the ConfigMap that names the kinds of the set's members (pure)
"""
