"""A target cluster, as binding works in it.

reach.py     the way to the targets, in time and with a breaker for each
breaker.py   a circuit breaker per target (pure)
way.py       the way into one target, with what holds there for all placements
claims.py    whose a namespace is
spaces.py    removes a namespace that we made and nobody uses
applyset.py  applies and prunes what one Placement has in one target
disposal.py  takes members of the set away, or gives them back
leaving.py   what is deleted and still there (pure)
anew.py      what is made anew
fields.py    conflicts over fields
lookup.py    what is not there, for many objects at once
parents.py   reads and writes the ConfigMap that names the kinds of the set's members
parent.py    what that ConfigMap says (pure)
adoption.py  what was there before: remembered, and given back (pure)
comparison.py  what is there otherwise than wanted, where that is only told (pure)
absence.py   that something is not there is an answer, too
"""
