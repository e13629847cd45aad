"""A development control plane that speaks the Kubernetes and kcp wire protocol. In memory, in one process, no product.

A request goes through `wire` (HTTP; what its path names), `sandbox` (authenticate, authorize), then `objects`: reads,
or writes, which go through the registry or the deleter into the store. From the ground up, each room on those before:

- `errors` and `data`: refusals, and tables in YAML
- `schemas`: kinds as data, what they validate, and those that are built in
- `state`: the store of objects, and the logical clusters
- `wire`: HTTP, encodings, Tables, API discovery, faults on demand; beside it `access`: tokens, RBAC, reviews
- `objects`: reading, writing, applying, deleting, and what follows from a change
- `kcp`: exports, bindings and virtual workspaces
- `plane`: all of that as one thing, to be told in one process
- `world`: worlds as data, targets with a simulator of their workloads, the sandbox's own API
- `sandbox`: requests; `run`: a world, served

What is not emulated is in docs/sandbox.md.
"""
