"""The metrics against pysaliency's: one image of 640 × 480 with 100 fixations, on one thread.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --map 8-bit

Both sides take the same maps and fixations, in pysaliency's convention, and must give the same
values to 1e-6. pysaliency's side is the function that does the work; what its models, stimuli and
progress bars add is left out, except in the row that says so. pysaliency comes with the extra
`test`, POT with `emd`.
"""

import importlib.util
import json
import sys
import types
from functools import partial

import numpy as np
from _measure import benchmark_parser, measure_in_rounds, print_table, time_calls, times

WIDTH, HEIGHT, FIXATIONS, OTHERS = 640, 480, 100, 1000
TOLERANCE = 1e-6
ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA", "VECLIB_MAXIMUM")
}
IMAGES = 1 + OTHERS // FIXATIONS
CALL_OF_MODEL = "sAUC, call of the model"


def fixed_image(kind):
    """Input of both sides: a prediction, and the fixations on this image and others.

    Returns:
        Dict of the arguments of the metrics.
    """
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(0)
    shape = (HEIGHT, WIDTH)

    def points(count):
        return random.integers(0, (WIDTH, HEIGHT), (count, 2))

    fixations, others = points(FIXATIONS), points(OTHERS)
    counts = np.zeros(shape)
    np.add.at(counts, tuple(fixations.T[::-1]), 1)
    noise = random.random(shape)
    smooth = gaussian_filter(noise, 20)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    saliency = {
        "smooth": smooth,
        "noise": noise,
        "8-bit": np.round(255 * smooth),
        "peaky": np.exp(15 * smooth),
    }[kind]
    return {
        "saliency": saliency,
        "density": gaussian_filter(counts, 19, truncate=8),
        "baseline": 1 + gaussian_filter(random.random(shape), 60),
        "fixations": fixations,
        "others": others,
    }


def our_side(saliency, density, baseline, fixations, others):
    """Each metric as a function without arguments, by name."""
    from keras_salnet import metrics

    def calls(convention):
        theirs = {"convention": convention}
        return {
            "KL": partial(metrics.kl_divergence, saliency, density, **theirs),
            "CC": partial(metrics.correlation_coefficient, saliency, density, **theirs),
            "SIM": partial(metrics.similarity, saliency, density, **theirs),
            "NSS": partial(metrics.nss, saliency, fixations, **theirs),
            "IG": partial(metrics.information_gain, saliency, fixations, baseline, **theirs),
            "AUC": partial(metrics.auc, saliency, fixations),
            "AUC-Judd": partial(metrics.auc_judd, saliency, fixations, **theirs),
            "AUC-Borji": partial(metrics.auc_borji, saliency, fixations),
            "sAUC": partial(metrics.shuffled_auc, saliency, fixations, others, **theirs),
        }

    sides = calls("pysaliency")
    sides["EMD"] = partial(metrics.emd, saliency, density)
    sides[CALL_OF_MODEL] = sides["sAUC"]
    for convention in ("pysaliency", "mit"):
        every = calls(convention).values()
        sides[f"all but EMD, {convention}"] = lambda every=every: sum(call() for call in every)
    return sides


def pysaliency_side(saliency, density, baseline, fixations, others):
    """The same, by pysaliency. It imports torch for models unused here, and calls a lost trapz."""
    if importlib.util.find_spec("torch") is None:
        sys.modules["torch"] = types.ModuleType("torch")
    np.trapz = np.trapezoid
    import pysaliency
    from pysaliency import metrics, roc
    from pysaliency.saliency_map_models import _get_unfixated_values

    x, y = fixations.T
    other_x, other_y = others.T

    def kl_divergence():
        with np.errstate(divide="ignore"):
            return metrics.MIT_KLDiv(saliency, density)

    def information_gain():
        p, b = (np.log(metrics.convert_saliency_map_to_density(m)) for m in (saliency, baseline))
        with np.errstate(divide="ignore"):
            return (p[y, x] - b[y, x]).mean() / np.log(2)

    def auc():
        return roc.general_rocs_per_positive(saliency[y, x], saliency.flatten()).mean()

    def auc_judd():
        others = _get_unfixated_values(saliency, y, x)
        return roc.general_roc(saliency[y, x], others, judd=1)[0]

    def shuffled_auc():
        return roc.general_rocs_per_positive(saliency[y, x], saliency[other_y, other_x]).mean()

    class Model(pysaliency.SaliencyMapModel):
        def _saliency_map(self, stimulus):
            return saliency

    # As its users call it: a data set of eleven images, the first with these fixations.
    model = Model()
    stimuli = pysaliency.Stimuli(
        [np.full((HEIGHT, WIDTH, 3), image, np.uint8) for image in range(IMAGES)]
    )
    points = pysaliency.Fixations.create_without_history(
        *np.concatenate([fixations, others]).T, np.repeat(range(IMAGES), FIXATIONS)
    )

    def shuffled_auc_of_all_images():
        return model.AUC_per_image(stimuli, points, nonfixations="shuffled")[0]

    return {
        "KL": kl_divergence,
        "CC": lambda: metrics.CC(saliency, density),
        "SIM": lambda: metrics.SIM(saliency, density),
        "NSS": lambda: metrics.NSS(saliency, x, y).mean(),
        "IG": information_gain,
        "AUC": auc,
        "AUC-Judd": auc_judd,
        "sAUC": shuffled_auc,
        CALL_OF_MODEL: shuffled_auc_of_all_images,
    }


SIDES = {"keras-salnet": our_side, "pysaliency": pysaliency_side}


def measure_side(arguments):
    """Seconds an image of each metric, and its value."""
    measured = {}
    for name, call in SIDES[arguments.side](**fixed_image(arguments.map)).items():
        images = IMAGES if (arguments.side, name) == ("pysaliency", CALL_OF_MODEL) else 1
        seconds = time_calls(call, arguments.repeats, limit=arguments.seconds)
        measured[name] = [value / images for value in seconds]
        measured[f"value of {name}"] = [float(call())]
    return measured


def main():
    parser = benchmark_parser(__doc__, repeats=50)
    add = parser.add_argument
    add("--map", choices=("smooth", "noise", "8-bit", "peaky"), default="smooth", help="to score")
    add("--seconds", type=float, default=2, help="after which a metric is not called again")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure_side(arguments)))
        return
    for package, extra in (("pysaliency", "test"), ("ot", "emd")):
        if importlib.util.find_spec(package) is None:
            parser.error(f"this needs {package}: pip install -e '.[{extra}]'.")

    ours, theirs = measure_in_rounds(SIDES, arguments.rounds, ONE_THREAD).values()
    rows = []
    for name, seconds in ours.items():
        if name.startswith("value of"):
            continue
        value, expected = ours[f"value of {name}"], theirs.get(f"value of {name}")
        if expected is not None and not abs(value - expected) < TOLERANCE:
            sys.exit(f"{name} is {value} by keras-salnet, {expected} by pysaliency.")
        rows.append(
            (
                name,
                f"{1e3 * seconds:.3f}",
                f"{1e3 * theirs[name]:.3f}" if name in theirs else None,
                times(theirs.get(name), seconds),
                f"{1 / seconds:.0f}",
            )
        )
    print(
        f"{arguments.map} map, {WIDTH} x {HEIGHT}, {FIXATIONS} fixations, {OTHERS} of other "
        f"images, one thread: medians of {arguments.rounds} rounds of up to {arguments.repeats} "
        f"calls. Where both compute a metric, they agree to {TOLERANCE:g}."
    )
    print_table(("metric", "keras-salnet, ms", "pysaliency, ms", "faster", "images/s"), rows)


if __name__ == "__main__":
    main()
