"""Byte streams over the bus, to the one server that an agent beside a target dials.

    subjects.py   where all this is said
    frames.py     what is said of a stream, and how much of it may be on its way (pure)
    pipe.py       one stream, between the bus and a socket
    caller.py     the side of workers: a socket that leads to the server of a target
    agent.py      the side of the agent, which dials

Neither side trusts the bus with what the streams carry: that is TLS, between a worker and the target's API server.
"""
