"""Kubernetes and kcp, spoken over one thin transport; it knows nothing of Moorage.

    auth/         where the server is and who we are
    transport.py  one request: raw bytes in and out
    client.py     requests: raw bytes or typed objects in and out; decoding.py: bodies as objects
    informer.py   a cache that follows a collection; subscription.py: what one of its subscribers has not seen yet
    apis.py       which APIs a server serves
    objects.py    pure helpers for server-side apply; applyset.py: kubectl's ApplySets
    resources.py  collections and their paths
    quantity.py   `500m`, `1.5Gi`, as numbers; times.py: times as Kubernetes writes them
    errors.py     what an API server refused, and why

Nothing is imported here, so that a worker loads only the modules that it names.
"""
