"""Why a placement is where it is, and why not elsewhere, out of what is on record.

explanation.py  from the PlacementDecision to an explanation (pure)
remedies.py     what would help against each reason (pure)
pages.py        an explanation for a terminal
page.py         the tables of reasons in docs/troubleshooting.md, by the same words
reading.py      Placements and their decisions, from the hub or from files
"""
