"""Shared by all workers, on three floors; nothing here imports from `services`.

    pipeline, hub                                  how stages are declared and run; the hub as Moorage sees it
    model                                          the values in messages and buckets
    api, broker, columns, kube, process, and aio   what knows nothing of Moorage's values

docs/architecture.md says what each holds.
"""
