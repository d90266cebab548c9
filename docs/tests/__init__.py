"""Tests of the documents: their programs run, their links lead somewhere, nothing is missing."""
