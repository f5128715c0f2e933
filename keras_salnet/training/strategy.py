"""Several devices, and several processes, for one run.

They share each batch; everything else is as on one device: the loss is the mean over the whole
batch, and so are the statistics of batch normalization. On TensorFlow this is
`tf.distribute.MirroredStrategy`; on JAX `keras.distribution.DataParallel`, one program over the
devices of all processes.
"""

import contextlib
import importlib
import logging

import keras

from keras_salnet.data.sharing import ONE_DEVICE, Sharing

logger = logging.getLogger(__name__)


class OneDevice:
    """No strategy: Keras's default."""

    sharing = ONE_DEVICE
    is_chief = True

    def scope(self):
        """Context to build, compile and fit the model in."""
        return contextlib.nullcontext()

    def check(self, recipe, dataset):
        """Raise ValueError if several devices cannot train as one device would.

        Args:
            recipe: `Recipe`.
            dataset: `Dataset` with the splits ``train`` and ``val``.
        """
        count = self.sharing.devices
        if recipe.batch_size % count:
            raise ValueError(
                f"{count} devices cannot share a batch of {recipe.batch_size}; give a "
                f"--batch-size that is a multiple of {count}."
            )
        for split in ("train", "val"):
            images = len(dataset[split])
            if images < count:
                raise ValueError(
                    f"{dataset.name}: {images} images in {split} are too few for {count} devices."
                )
        if left := len(dataset["val"]) % count:
            logger.warning(
                "%d devices cannot share the last %d images of val; they are dropped.", count, left
            )

    def alone(self):
        """Context, inside the scope, for work of the chief alone."""
        return contextlib.nullcontext()

    def prepare(self, net):
        """Make a model that was built in the scope behave as on one device."""

    def distribute(self, batches):
        """Batches of `keras_salnet.data` as `fit`, told their number, takes them in the scope."""
        return batches


class _TensorFlowMirrored(OneDevice):
    """All devices of this process, each with a copy of the weights."""

    def __init__(self):
        tf = importlib.import_module("tensorflow")
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        self._strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
        self.sharing = Sharing(devices=len(devices))

    def scope(self):
        return self._strategy.scope()

    def check(self, recipe, dataset):
        super().check(recipe, dataset)
        # Both happen before the devices' gradients are summed.
        for option, given in (
            ("--clip-norm", recipe.clip_norm is not None),
            ("--accumulate", recipe.accumulate > 1),
        ):
            if given:
                raise ValueError(
                    f"{option}: with --strategy mirrored, TensorFlow would apply it to the "
                    "gradient of each device; set KERAS_BACKEND=jax, or leave it out."
                )

    def prepare(self, net):
        for layer in net._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True

    def distribute(self, batches):
        # The strategy itself would fill an epoch's partial batch from the next epoch. Endless,
        # since Keras warns of an unexpected end.
        tf = importlib.import_module("tensorflow")

        def split(batch):
            return {
                name: tf.reshape(value, (self.sharing.devices, -1, *value.shape[1:]))
                for name, value in batch.items()
            }

        return self._strategy.distribute_datasets_from_function(
            lambda _: batches.map(split).unbatch().repeat().prefetch(self.sharing.devices)
        )


class _JaxDataParallel(OneDevice):
    """All devices of JAX: after `keras.distribution.initialize`, those of all processes."""

    def __init__(self):
        # Each process already reads its own part of the batches.
        self._distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        jax = importlib.import_module("jax")
        self.sharing = Sharing(jax.device_count(), jax.process_index(), jax.process_count())
        self.is_chief = self.sharing.worker == 0

    def check(self, recipe, dataset):
        super().check(recipe, dataset)
        if recipe.max_time and self.sharing.workers > 1:
            raise ValueError(
                "--max-time: with --strategy multi-worker, workers would stop at different steps; "
                "give --epochs instead, and --max-time none if the recipe has a limit."
            )

    def scope(self):
        return self._distribution.scope()

    @contextlib.contextmanager
    def alone(self):
        # Saving creates variables, which under the distribution would need all processes.
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(self._distribution)


def start(strategy):
    """Set up the devices of a run.

    Args:
        strategy: None; ``"mirrored"`` for all devices of this process, on TensorFlow or JAX; or
            ``"multi-worker"`` for the devices of several processes, on JAX. Each process calls this
            before it computes anything, and finds the others through the environment variables of
            `keras.distribution.initialize` or through Slurm, Open MPI or Kubernetes.

    Returns:
        `OneDevice`, or an object with the same methods.

    Raises:
        ValueError: the strategy is unknown or not for this backend, or the workers are not known.
        ConnectionError: the other workers were not found.
    """
    backend = keras.backend.backend()
    if strategy is None:
        return OneDevice()
    if strategy == "mirrored" and backend in ("tensorflow", "jax"):
        devices = _TensorFlowMirrored() if backend == "tensorflow" else _JaxDataParallel()
    elif strategy == "multi-worker" and backend == "jax":
        _meet_workers()
        devices = _JaxDataParallel()
    elif strategy in ("mirrored", "multi-worker"):
        raise ValueError(
            f"the {backend} backend has no --strategy {strategy}; set KERAS_BACKEND=jax."
        )
    else:
        raise ValueError(f"strategy must be mirrored or multi-worker, not {strategy!r}.")
    sharing = devices.sharing
    logger.info("%d devices in %d processes share each batch.", sharing.devices, sharing.workers)
    return devices


def _meet_workers():
    # Otherwise JAX catches SIGTERM, for programs that save their state before they end.
    importlib.import_module("jax").config.update("jax_enable_preemption_service", False)
    logger.info("Waiting up to five minutes for the other workers.")
    try:
        keras.distribution.initialize()
    except ValueError as error:
        raise ValueError(
            f"--strategy multi-worker: the workers are not known ({error}) Run under Slurm, "
            "Open MPI or Kubernetes, or set KERAS_DISTRIBUTION_JOB_ADDRESSES, "
            "KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID."
        ) from error
    except RuntimeError as error:
        raise ConnectionError(f"--strategy multi-worker: {error}") from error
