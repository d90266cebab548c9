"""The schema of a Perdure file.

- `tables`: tables and indexes in their present version
- `ready_index`: how the index columns tell which work is ready, and when
- `counts`: the counts of ended instances, and the triggers that keep them
- `ids_in_use`: ids that a commit could not create, for repeats of it
- `migrations`: the version of a file, and bringing older files up to date
- `upgrades`: the upgrade from each version to the next
"""
