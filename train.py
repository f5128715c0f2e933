"""Train a saliency model: `python train.py --epochs 10`, the same as `keras-salnet train`."""

import sys

from keras_salnet.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
