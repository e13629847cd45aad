"""The agent beside a target that nobody can connect to: it connects to NATS, and carries what workers say to it.

It has no account in the target: who workers are there is said within TLS, which goes through it. docs/pull.md shows it.

settings.py  which tunnel it serves, and which server it dials
dialling.py  connections to that server
process.py   the agent as a process
"""
