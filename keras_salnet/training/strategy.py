"""Several devices, and several processes, for one run.

The batch is shared among them and everything else is as on one device: the loss is the mean over
the whole batch, and batch normalization takes its statistics from all of it. On TensorFlow this is
`tf.distribute.MirroredStrategy`; on JAX `keras.distribution.DataParallel`, one program over all
devices, of other processes too.
"""

import contextlib
import importlib
import logging

import keras

from keras_salnet.data.sharing import ONE_DEVICE, Sharing

logger = logging.getLogger(__name__)


class OneDevice:
    """No strategy: what Keras does by itself."""

    sharing = ONE_DEVICE
    is_chief = True

    def scope(self):
        """Context in which the model is built, compiled and fitted."""
        return contextlib.nullcontext()

    def refuse(self, recipe):
        """Raise ValueError for what a recipe asks and this cannot do as one device does it."""
        count = self.sharing.devices
        if recipe.batch_size % count:
            raise ValueError(
                f"a batch of {recipe.batch_size} cannot be shared by {count} devices; give a "
                f"--batch-size that is a multiple of {count}."
            )

    def alone(self):
        """Context, inside the scope, for what only the chief does."""
        return contextlib.nullcontext()

    def prepare(self, net):
        """Make a model, built in the scope, behave as on one device."""

    def distribute(self, batches):
        """Batches of `keras_salnet.data` as `fit` takes them in the scope, given their number."""
        return batches


class _TensorFlowMirrored(OneDevice):
    """All devices of this process; each holds a copy of the weights."""

    def __init__(self):
        tf = importlib.import_module("tensorflow")
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        self._strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
        self.sharing = Sharing(devices=len(devices))

    def scope(self):
        return self._strategy.scope()

    def refuse(self, recipe):
        super().refuse(recipe)
        # Both happen before the devices' gradients are summed.
        for option, given in (
            ("--clip-norm", recipe.clip_norm is not None),
            ("--accumulate", recipe.accumulate > 1),
        ):
            if given:
                raise ValueError(
                    f"{option}: with --strategy mirrored, TensorFlow would apply it to each "
                    "device's own gradient; set KERAS_BACKEND=jax, or leave it out."
                )

    def prepare(self, net):
        for layer in net._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True

    def distribute(self, batches):
        # Not left to the strategy, which fills up an epoch's partial batch from the next epoch.
        # Endless, since Keras warns of an end that it did not know of.
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
    """All devices that JAX sees: after `keras.distribution.initialize`, of all processes."""

    def __init__(self):
        # Each process reads its own part of the batches already.
        self._distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        jax = importlib.import_module("jax")
        self.sharing = Sharing(jax.device_count(), jax.process_index(), jax.process_count())
        self.is_chief = self.sharing.worker == 0

    def refuse(self, recipe):
        super().refuse(recipe)
        if recipe.max_time and self.sharing.workers > 1:
            raise ValueError(
                "--max-time: with --strategy multi-worker, the workers would stop at different "
                "steps; give --epochs instead, and for a recipe that has a time, --max-time none."
            )

    def scope(self):
        return self._distribution.scope()

    @contextlib.contextmanager
    def alone(self):
        # Keras's saving makes variables, for which all processes would have to come together.
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(self._distribution)


def start(strategy):
    """Take hold of the devices.

    Args:
        strategy: None, ``"mirrored"`` for all devices of this process, on TensorFlow or JAX, or
            ``"multi-worker"`` for those of several processes, on JAX: each calls this before
            anything else is computed, and is told of the others by the environment variables of
            `keras.distribution.initialize` or by Slurm, Open MPI or Kubernetes.

    Returns:
        `OneDevice` or one that does as it does.

    Raises:
        ValueError: the strategy is unknown, or not for this backend, or nothing says who the
            workers are.
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
            f"--strategy {strategy} is not for the {backend} backend; set KERAS_BACKEND=jax."
        )
    else:
        raise ValueError(f"strategy must be mirrored or multi-worker, not {strategy!r}.")
    sharing = devices.sharing
    logger.info("%d devices in %d processes share the batches.", sharing.devices, sharing.workers)
    return devices


def _meet_workers():
    # Else JAX swallows SIGTERM, for programs that save themselves before they end.
    importlib.import_module("jax").config.update("jax_enable_preemption_service", False)
    logger.info("Waiting for the other workers, for five minutes at most.")
    try:
        keras.distribution.initialize()
    except ValueError as error:
        raise ValueError(
            f"--strategy multi-worker: nothing says who the workers are ({error}) Run under Slurm, "
            "Open MPI or Kubernetes, or set KERAS_DISTRIBUTION_JOB_ADDRESSES, "
            "KERAS_DISTRIBUTION_NUM_PROCESSES and KERAS_DISTRIBUTION_PROCESS_ID."
        ) from error
    except RuntimeError as error:
        raise ConnectionError(f"--strategy multi-worker: {error}") from error
