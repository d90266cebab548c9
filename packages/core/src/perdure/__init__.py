"""Perdure: ordinary async Python functions that survive crashes, restarts and deployments."""
