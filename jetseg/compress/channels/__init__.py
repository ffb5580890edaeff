"""Which channels of a network can only be removed together, found by following every channel through its operators.

`tracing` runs the network; `operators` has one rule for each operator, from `moving` and `mixing`; `variables` keeps
which channels stand or fall together.
"""
