"""``python -m sap_core.cli``: the command line where ``sap`` is not on the path."""

import sys

from . import main

sys.exit(main())
