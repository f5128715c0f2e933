"""keras-salnet predict."""

import argparse
import contextlib
from pathlib import Path

from keras_salnet.cli.arguments import MODEL_HELP, OPTIONAL, add_command, pick, seconds, size
from keras_salnet.cli.environment import load_predictor, progress, start_keras
from keras_salnet.models.presets import DEFAULT

_OUT = "predictions"


def add(commands):
    """Add the command to the others."""
    parser = add_command(
        commands,
        "predict",
        _predict,
        "Draw where people look in images, videos, or a camera's view. Existing outputs are kept, "
        "so running it again resumes the job.",
    )
    parser.add_argument(
        "inputs", nargs="*", metavar="IMAGE|VIDEO|FOLDER", help="files, or folders of images"
    )
    parser.add_argument("--model", metavar="MODEL", default=DEFAULT, help=MODEL_HELP)
    parser.add_argument(
        "--out",
        default=_OUT,
        metavar="PATH",
        help="folder, file, or pattern with {name}, {ending}, {folder} and {kind}, such as "
        "'maps/{folder}/{name}.png'",
    )
    parser.add_argument(
        "--input-size",
        type=size,
        metavar="SIZE",
        help="input size for a model that takes any, as 240x320 (default: the image's own, with at "
        "most 512 pixels on the longest side)",
        **OPTIONAL,
    )
    parser.add_argument(
        "--shard",
        type=_shard,
        default=(1, 1),
        metavar="I/N",
        help="predict only the I-th of N parts of the images, to share them among N machines",
    )
    parser.add_argument("--force", action="store_true", help="replace existing outputs")
    _add_drawing(parser)
    _add_video(parser)


def _add_drawing(parser):
    drawing = parser.add_argument_group(
        "drawing", "Default: the map and the overlay; for videos the overlay."
    )
    for kind, help in (
        ("map", "the map: white, or the end of the colour map, where most people look"),
        ("overlay", "the map over the image"),
        ("side-by-side", "the image next to its overlay"),
    ):
        drawing.add_argument(
            f"--{kind}",
            dest="kinds",
            action="append_const",
            const="saliency" if kind == "map" else kind.replace("-", "_"),
            help=help,
            **OPTIONAL,
        )
    drawing.add_argument("--npy", action="store_true", help="also write the map as float32 .npy")
    drawing.add_argument(
        "--show-attention",
        action="store_true",
        help="also draw each attention layer's mask and strongest channels, and a Grad-CAM",
    )
    drawing.add_argument(
        "--colormap",
        metavar="NAME",
        help="inferno, viridis, turbo, jet or hot (default: grey maps, inferno over images)",
        **OPTIONAL,
    )
    drawing.add_argument(
        "--threshold",
        type=_fraction,
        default=0.0,
        metavar="FRACTION",
        help="hide values below this fraction of the map's maximum, 0…1: 'crisp' maps",
    )


def _add_video(parser):
    video = parser.add_argument_group("videos and cameras")
    video.add_argument(
        "--camera",
        metavar="NUMBER|URL",
        help="predict what a camera sees, 0 for the first; show it, or record it to --out VIDEO",
        **OPTIONAL,
    )
    video.add_argument(
        "--seconds",
        type=seconds,
        metavar="S",
        help="stop the camera after this many seconds",
        **OPTIONAL,
    )
    video.add_argument(
        "--smoothing",
        type=seconds,
        default=0.0,
        metavar="S",
        help="average the maps over about this many seconds, for calmer videos",
    )


def _fraction(text):
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(
        f"invalid fraction: {text!r}; expected a number between 0 and 1"
    )


def _shard(text):
    """'2/8' → (2, 8)."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"invalid shard: {text!r}; expected e.g. 2/8")
    return int(part), int(parts)


def _predict(arguments):
    given = vars(arguments)
    if bool(arguments.inputs) == ("camera" in given):
        arguments.parser.error("name images, videos or folders, or give --camera")

    predictor = load_predictor(arguments.model, **pick(given, "input_size"))
    drawing = pick(given, "colormap", "threshold")
    if "camera" in given:
        _predict_camera(given, predictor, drawing)
        return
    from keras_salnet.prediction.video import is_video

    videos = [path for path in map(Path, arguments.inputs) if is_video(path)]
    images = [path for path in map(Path, arguments.inputs) if not is_video(path)]
    if videos:
        _predict_videos(videos, given, predictor, drawing, several=len(arguments.inputs) > 1)
    if images:
        _predict_images(images, given, predictor, drawing)


def _predict_images(inputs, given, predictor, drawing):
    import numpy as np

    from keras_salnet.data.readers import IMAGE_ENDINGS
    from keras_salnet.files import atomic
    from keras_salnet.images.files import write_picture
    from keras_salnet.prediction.drawing import Drawing
    from keras_salnet.prediction.images import ImageFiles, Output, Tally, predict_images
    from keras_salnet.prediction.outputs import Outputs

    def picture(kind):
        draw = Drawing(kind, **drawing)
        return Output(kind, lambda path, *drawn: write_picture(path, draw(*drawn)))

    def write_npy(path, image, saliency):
        with atomic(path) as draft:
            np.save(draft, saliency)

    outputs = Outputs(given["out"])
    alone = "kind" not in outputs.fields  # then there is one name only
    made = [picture(kind) for kind in given.get("kinds") or ["overlay", "saliency"][: 2 - alone]]
    if given["npy"]:
        made.append(Output("saliency", write_npy, ".npy"))
    if given["show_attention"]:
        made.append(Output("attention", _attention_drawer(given["model"], predictor)))

    files = ImageFiles(inputs, given["shard"], outputs.root)
    tally = predict_images(predictor, files, outputs, made, given["force"], progress())
    if tally == Tally() and given["shard"] == (1, 1):
        raise FileNotFoundError(
            f"{', '.join(map(str, inputs))}: no images found ({', '.join(IMAGE_ENDINGS)})."
        )
    print(f"Images predicted by {predictor.name}: {tally.done}, into {given['out']}")
    if tally.there:
        print(f"Kept: {tally.there} (--force replaces existing outputs)")
    if tally.failed:
        raise ValueError(f"{tally.failed} of the images could not be read; they are named above.")


def _attention_drawer(model, predictor):
    """Function (path, image, saliency) that draws what a model attends to."""
    from keras_salnet.prediction.explain import draw_attention

    net = _load_layers(model)

    def draw(path, image, saliency):
        input_size = predictor.input_size_for(image.shape[:2])
        draw_attention(net, image, path, predictor.resize, input_size=input_size)

    return draw


def _load_layers(model):
    """The Keras model, which has its layers."""
    start_keras()
    from keras_salnet.models import load_model

    try:
        return load_model(model)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"--show-attention takes a run folder, a .keras file or a shipped model: {error}"
        ) from error


def _video_drawing(given, drawing):
    """The drawing of a video: of one kind, and without the options for images."""
    from keras_salnet.prediction.drawing import Drawing

    kinds = given.get("kinds", ["overlay"])
    if len(kinds) > 1 or given["npy"] or given["show_attention"] or given["shard"] != (1, 1):
        raise ValueError(
            "a video is drawn in one way; --npy, --show-attention and --shard are for images."
        )
    return Drawing(kinds[0], **drawing)


def _predict_videos(videos, given, predictor, drawing, several):
    from keras_salnet.prediction.outputs import Found, Outputs
    from keras_salnet.prediction.video import predict_video

    draw = _video_drawing(given, drawing)
    outputs = Outputs(given["out"], ".mp4")
    outputs.check([draw.kind], several)
    outputs.check_names(videos)
    options = {"smoothing": given["smoothing"], "track": progress()}
    for video in videos:
        target = outputs.path(Found(video), draw.kind)
        if target.exists() and not given["force"]:
            print(f"{target} already exists (--force replaces it)")
            continue
        frames = predict_video(predictor, video, target, draw, **options)
        print(f"{frames} frames predicted by {predictor.name}: {target}")


def _predict_camera(given, predictor, drawing):
    from keras_salnet.prediction.camera import predict_camera
    from keras_salnet.prediction.video import is_video

    out = Path(given["out"]) if given["out"] != _OUT else None
    if out is not None and not is_video(out):
        raise ValueError(f"--out {out}: a camera is recorded to a video, such as live.mp4.")
    if out is not None and out.exists() and not given["force"]:
        raise FileExistsError(f"{out} already exists; give --force to replace it.")
    camera = given["camera"]
    predict_camera(
        predictor,
        int(camera) if camera.isdecimal() else camera,
        _video_drawing(given, drawing),
        out=out,
        smoothing=given["smoothing"],
        seconds=given.get("seconds"),
    )
    if out is not None:
        print(f"Recorded: {out}")
