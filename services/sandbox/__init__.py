"""A development control plane that speaks the Kubernetes and kcp wire protocol. In memory, in one process, no product.

A request goes through `server` (ASGI), `paths` (what it names), `sandbox` (authenticate, authorize), then `reads` or
`writes`; writes go through `registry` or `deletion` into the `store`. `effects` holds what some kinds
mean to the server itself, `exports` what kcp's kinds mean across workspaces, `virtual` shows an export its consumers.
`faults` lets requests fail on demand, `simulator` plays the controllers of target clusters, `world` and `run` set up
and serve a world. What is not emulated is in docs/sandbox.md.
"""
