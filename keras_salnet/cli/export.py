"""keras-salnet export."""

from importlib import util
from pathlib import Path

from keras_salnet import formats
from keras_salnet.cli.arguments import CHECKED_URL, OPTIONAL, SHIPPED_NAMES, add_command
from keras_salnet.cli.environment import start_keras, without_stderr
from keras_salnet.formats.savedmodel_versions import version_folder
from keras_salnet.formats.tflite import QUANTIZATIONS
from keras_salnet.models.presets import SHIPPED
from keras_salnet.runs import newest_run

_CHECKED_IMAGES = 8
_MEASURED_IMAGES = 128


def add(commands):
    """Add the command to the others."""
    parser = add_command(
        commands,
        "export",
        _export,
        "Export a trained model for other runtimes, and check that it predicts the same.",
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help=f"{SHIPPED_NAMES}, a run folder, a .keras file, or its URL {CHECKED_URL} (default: "
        "the newest run)",
        **OPTIONAL,
    )
    parser.add_argument(
        "--format", choices=sorted(formats.FORMATS), default="tflite", help="what to write"
    )
    parser.add_argument(
        "--quantize",
        choices=QUANTIZATIONS,
        default="none",
        help="for tflite: 16-bit weights (fp16), 8-bit weights (dynamic), or 8-bit weights and "
        "activations (int8), whose ranges are measured on training images",
    )
    parser.add_argument(
        "--mirrored",
        action="store_true",
        help="average the maps of each image and of its mirror image: twice the time, slightly "
        "more accurate",
    )
    parser.add_argument(
        "--data",
        metavar="NAME|FOLDER|TOML",
        help="dataset whose images int8 is measured and the export checked on (default: what the "
        "run was trained on)",
        **OPTIONAL,
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="random seed for choosing int8 images",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="file; folder for OpenVINO; or folder of a SavedModel's numbered versions, which gets "
        "the next one",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing export")


def _export(arguments):
    model = vars(arguments).get("model") or str(newest_run().path)
    out = _target(arguments)
    needs = formats.get(arguments.format).NEEDS
    if "tensorflow" in needs and not util.find_spec("tensorflow"):
        raise ModuleNotFoundError(
            f"the export as {arguments.format} needs TensorFlow; run it where that is installed."
        )
    start_keras("tensorflow" if "tensorflow" in needs else None)

    from keras_salnet.files import atomic
    from keras_salnet.models import load_model, mirrored
    from keras_salnet.models.loading import in_float32

    with without_stderr():
        net = in_float32(load_model(model))
        if arguments.mirrored:
            net = mirrored(net)
    with atomic(out, replace=arguments.force) as draft, without_stderr():
        _write(net, model, draft, arguments)
    print(f"Exported: {out} ({_megabytes(out):.1f} MB)")


def _target(arguments):
    """The file or folder to write."""
    out, module = arguments.out, formats.get(arguments.format)
    if arguments.quantize != "none" and arguments.format != "tflite":
        raise ValueError("--quantize is for --format tflite.")
    if arguments.mirrored and arguments.format == "weights":
        raise ValueError("--mirrored changes no weights; leave it out with --format weights.")
    if module.ENDING and not out.name.endswith(module.ENDING):
        raise ValueError(
            f"--out {out}: a file of --format {arguments.format} ends in {module.ENDING}."
        )
    if arguments.format == "savedmodel":
        out = version_folder(out)
    if out.exists() and not arguments.force:
        raise FileExistsError(f"{out} already exists; give --force to replace it.")
    if out.is_dir() and (module.ENDING or module.find(out) is None):
        raise FileExistsError(f"{out} is a folder with other contents; nothing was replaced.")
    return out


def _write(net, model, out, arguments):
    """Write the format, and check that it predicts as Keras does."""
    from keras_salnet.formats.tflite import representative_images
    from keras_salnet.models.loading import fixed_input_size
    from keras_salnet.runs import run_of

    module = formats.get(arguments.format)
    run = None if model in SHIPPED else run_of(model)
    config = run.config if run else {"recipe": {"resize": "stretch"}}
    resize, name = config["recipe"]["resize"], run.path.name if run else Path(model).stem
    options = {}
    dataset = _dataset_of_export(vars(arguments), config, model) if module.MIN_CC else None
    if arguments.format == "tflite":
        options["quantize"] = arguments.quantize
    if arguments.quantize == "int8":
        options["representative"] = representative_images(
            dataset, fixed_input_size(net), resize, _MEASURED_IMAGES, arguments.seed
        )
    module.write(net, out, resize, name, **options)
    if module.MIN_CC:
        minimum = module.MIN_CC if module.ENDING != ".tflite" else module.MIN_CC[arguments.quantize]
        _check(net, out, dataset, resize, minimum)


def _check(net, out, dataset, resize, minimum):
    from keras_salnet.data import popout
    from keras_salnet.prediction.check import check_export

    if dataset is None:
        images = [popout.draw(2, index)[0] for index in range(_CHECKED_IMAGES)]
    else:
        samples = dataset[dataset.held_out]
        count = min(_CHECKED_IMAGES, len(samples))
        images = [samples[i * len(samples) // count].image for i in range(count)]
    scores = check_export(out, net, images, resize, minimum)
    print(
        f"Checked on {len(images)} images of {dataset.name if dataset else 'popout'}: it predicts "
        f"as Keras does, with a mean CC of {sum(scores) / len(scores):.5f} (lowest "
        f"{min(scores):.5f})"
    )


def _dataset_of_export(given, config, model):
    """The dataset that was named, or that of the run, or None where that is not at hand."""
    from keras_salnet.data import load_dataset

    if "data" in given:
        return load_dataset(given["data"])
    try:
        if config.get("data") is None:
            raise ValueError(f"{model}: its training data are unknown")
        return load_dataset(config["data"])
    except (OSError, ValueError) as error:
        if given["quantize"] == "int8":
            raise ValueError(
                f"--quantize int8 measures on images; name a dataset with --data ({error})"
            ) from None
        return None


def _megabytes(path):
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6
