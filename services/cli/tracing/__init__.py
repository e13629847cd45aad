"""The trace of a placement, in the terminal.

waterfall.py  from spans to rows: who under whom, when, how long (pure)
jaeger.py     spans, from Jaeger's API
kept.py       spans, from the files of `moorage up`
"""
