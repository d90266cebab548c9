"""The operator's guide: each of its cases happens to an order, and what the guide says mends it."""
