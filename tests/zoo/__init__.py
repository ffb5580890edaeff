"""Networks that other people wrote, with random weights, and the chain of verbs that each goes through (`make zoo`).

`networks` holds the factories, `pidnet`, `stdc` and `topformer` three networks that no library on PyPI has, `heads`
what turns a backbone into a segmentation network, `chain` the verbs, `table` the page in docs/measurements.
"""
