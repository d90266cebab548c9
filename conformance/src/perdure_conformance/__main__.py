"""`python -m perdure_conformance`."""

from perdure_conformance.command import main

if __name__ == "__main__":
    raise SystemExit(main())
