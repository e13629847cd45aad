"""The next step of a placement, and why: values in, values out.

observation.py  all that a step depends on
steps.py        the next step
waking.py       when it may be another one, as time goes by
digest.py       what a decision depends on besides the targets
evicting.py     which target it is asked to leave
eviction.py     which targets are to be left
brake.py        when none is left, since too many were lost at once
in_place.py     when what was decided should be in place
rebalance.py    when better targets are looked for
retrying.py     when a placement that was refused is tried again
wish.py         what is wanted: all that a decision depends on besides the targets
unread.py       what counts of a part of the workload that cannot be read any more, and where it stays meanwhile
"""
