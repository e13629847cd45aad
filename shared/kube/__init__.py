"""Kubernetes and kcp, spoken over one thin transport.

    config.py     where the server is and who we are
    client.py     requests: raw bytes or typed objects in and out
    watch.py      the informer: a cache that follows a collection
    discovery.py  which APIs a server serves
    apply.py      pure helpers for server-side apply and ApplySets
    quantity.py   `500m`, `1.5Gi`, as numbers

Nothing is imported here, so that a worker loads only the modules that it names.
"""
