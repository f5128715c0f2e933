"""Score a trained model: `python evaluate.py [RUN]`, the same as `keras-salnet evaluate`."""

import sys

from keras_salnet.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
