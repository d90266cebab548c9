"""Reads on connections of their own, beside the writer.

- `reader`: runs reads and long scans, and retries while the file is locked
- `histories`: pages of histories, checked for gaps
- `values`: the values of an instance
- `ranges`: instances in the order of creation, by one index or merged from several
- `searches`: finds the instances that meet a query
- `work`: what is queued for an instance
"""
