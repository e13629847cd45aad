"""Capacity of a target, and the pods that take of it.

nodes.py       which nodes can be used, and what they have (pure)
pods.py        what a pod asks for, and whose it is (pure)
counting.py    reads what its pods ask for, but for those of what Moorage placed
quantities.py  quantities of servers that are not trusted (pure)
"""
