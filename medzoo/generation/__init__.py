"""From a request to its samples.

`request` checks what is asked for. `job` says which samples exist already and what the others will
take. `run` makes them batch by batch with a loaded model. Users call `api` and `model`.
"""
