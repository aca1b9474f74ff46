"""`python -m clustertest.lab`."""

import sys

from clustertest.lab.cli import main

sys.exit(main())
