"""``python -m keras_salnet.cli``."""

import sys

from keras_salnet.cli import main

if __name__ == "__main__":
    sys.exit(main())
