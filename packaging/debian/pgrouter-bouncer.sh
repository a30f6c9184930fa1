#!/usr/bin/python3 -P
"""The command `pgrouter-bouncer` of the Debian package: its packages are in a directory of their own."""

import sys

sys.path.insert(0, "/usr/lib/pgrouter")

from pgrouter.bouncer.main import main  # noqa: E402

sys.exit(main())
