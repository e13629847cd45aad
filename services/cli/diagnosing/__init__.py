"""What is wrong with a running system, by name, and what to do about it; and how much it has to do.

faults.py   the names, and what to do (pure)
replicas.py streams on several servers: copies that are away or behind, and what is nearly full (pure)
monitoring.py  what each NATS server says of itself
queues.py   what NATS has: streams, consumers, buckets, dead letters, clocks
cluster.py  the hub: whether it answers, lets us, and serves our kinds as this version has them
load.py     what waits, how fast it is handled, how full targets are (pure)
reach.py    whether each target answers, and takes the credentials that its SyncTarget names
"""
