"""The conformance suite for storage providers of Perdure."""
