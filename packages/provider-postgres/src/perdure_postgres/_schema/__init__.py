"""The schema of a Perdure database.

- `tables`: tables and indexes in their present version
- `functions`: the functions of the database, in SQL; every call of a provider is one of them
- `migrations`: the statements that make a schema, or bring an older one up to date
- `checking`: carries them out, and checks a schema when a provider is opened
"""
