"""``python -m imgtag``."""

import sys

from imgtag.cli.main import main

sys.exit(main())
