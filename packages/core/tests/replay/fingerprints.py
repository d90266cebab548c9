"""Prints a digest of every history that the vocabulary's programs write.

Run as a program by the test of hash seeds: `python -m replay.fingerprints`.
"""

from __future__ import annotations

import hashlib
import json

from perdure.history import encode_event

from .driver import World, play, shuffled
from .vocabulary import words


def fingerprints() -> dict[str, str]:
    """By program, over several orders of results."""
    found: dict[str, str] = {}
    for definition in words.orchestrations():
        digest = hashlib.blake2b(digest_size=8)
        for seed in range(12):
            world = play(World(app=words, name=definition.name), shuffled(seed))
            for event in world.history:
                digest.update(encode_event(event))
        found[definition.name] = digest.hexdigest()
    return found


if __name__ == "__main__":
    print(json.dumps(fingerprints()))
