"""From a request to its samples.

`request` checks what is asked for, `job` finds what exists already and what the rest will take,
`run` makes it batch by batch with a loaded model. `api` and `model` are what users call.
"""
