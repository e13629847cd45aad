"""A development control plane that speaks the Kubernetes and kcp wire protocol. In memory, in one process, no product.

A request goes through `server` (ASGI), `sandbox` (route, authenticate, authorize), then `reads` or `writes`; writes go
through `registry` or `deletion` into `commits` and the `store`. `effects` holds what some kinds mean to the server
itself, `simulator` plays the controllers of target clusters, `world` and `run` set up and serve a world.

Not emulated: conversion webhooks, admission webhooks and policies (one stand-in: `effects`), validation rules in CEL,
quotas, service accounts' own tokens, full schemas of built-in kinds, Pods made by workloads.
"""
