"""The guest: what runs inside a cell. Standard library and a private msgspec only; Python 3.9 and later.

The host imports `syncell_worker.wire` and `syncell_worker.values` and nothing else of this package; this package
imports nothing of the host.
"""
