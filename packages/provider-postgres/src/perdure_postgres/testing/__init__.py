"""For tests of applications and of this package: a PostgreSQL that comes with the tests."""
