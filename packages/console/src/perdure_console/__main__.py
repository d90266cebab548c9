"""`python -m perdure_console` is the command `perdure`."""

import sys

from perdure_console import main

sys.exit(main())
