"""Packages: fetched, verified, unpacked, and kept in the cache.

`sources` and `download` fetch an archive from the address in a config, `store` unpacks and
verifies it, `cache` lists and removes what is kept, `transfer` writes archives to a file for
another machine, and `update` fetches a newer registry.
"""
