"""`python -m pag_ros.cli`."""

import sys

from pag_ros.cli import main

sys.exit(main())
