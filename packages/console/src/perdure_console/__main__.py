"""`python -m perdure_console` is the command `perdure`."""

import sys

from perdure_console.entry import script

sys.exit(script())
