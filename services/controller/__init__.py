"""controller: turns what changes in the world into requests to place, one newest request per placement.

It watches Placements, their workloads, policies and what was decided, in every workspace, and the inventory of targets.
It alone keeps the head of each placement (which attempt is the newest) and the waiting room of those that no target
fits.
"""
