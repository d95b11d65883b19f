"""Packages: fetched, verified, unpacked, and kept in the cache.

`sources` and `download` bring an archive from the address in a config, `store` makes a verified
folder of it, `cache` lists and removes what is kept, `transfer` carries it to another machine, and
`update` fetches a newer registry.
"""
