"""The device that training runs on, and what makes its results repeatable."""

import contextlib
import ctypes

import keras

from pipeline.training.quiet import native_stderr_hidden

_M_ARENA_MAX = -8  # of glibc's malloc.h


def share_heap() -> None:
    """Let all threads allocate from one heap, if the C library can; call it before the threads start.

    By default glibc gives each thread a heap of its own and returns freed memory to the kernel. TensorFlow's threads
    then request the same pages again for every matrix that XLA packs, which costs 500,000 page faults an epoch.
    """
    with contextlib.suppress(AttributeError):  # macOS has no such call
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def prepare_device(*, exact: bool = False) -> str:
    """Name the device that Keras will use: the first GPU where there is one.

    With TensorFlow, GPU memory is then taken as it is needed rather than all at once, and `exact` turns TF32 off,
    in which a GPU rounds the factors of a float32 product to 10 bits.
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        device = jax.devices()[0]
        name = device.device_kind if device.platform != "cpu" else None
    else:
        name = _tensorflow_gpu(exact)
    return f"{f'GPU {name}' if name else 'CPU'} ({backend})"


def repeat_exactly(seed: int, *, jit_compile: bool) -> None:
    """Seed every generator, so that the same inputs give the same weights on the same machine."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow" and not jit_compile:
        import tensorflow as tf

        # Programs of XLA repeat to the byte as they are, and Keras turns XLA off under this switch.
        tf.config.experimental.enable_op_determinism()


def leave_layers_apart() -> None:
    """Keep TensorFlow from fusing layers: if their gradients are taken twice it fails, goes on, and prints an error."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"remapping": False})


def _tensorflow_gpu(exact: bool) -> str | None:
    import tensorflow as tf

    tf.config.experimental.enable_tensor_float_32_execution(not exact)
    with native_stderr_hidden():
        gpus = tf.config.list_physical_devices("GPU")
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.list_logical_devices()  # starts the runtime, which reports on the processor
    if not gpus:
        return None
    name: str = tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name)
    return name
