"""Run folders: the files that training leaves, and the settings that it ran with."""

import json
from pathlib import Path

# Where the command line puts new runs.
RUNS = Path("runs")


class Run:
    """The files of a run folder; they need not exist yet.

    Args:
        path: the folder.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.history = self.path / "history.csv"
        self.curves = self.path / "training.png"
        self.evaluation = self.path / "evaluation.json"
        self.logs = self.path / "logs"
        self.weights = self.path / "best.weights.h5"
        self.model = self.path / "model.keras"
        self.saved_model = self.path / "saved_model"
        self.tflite = self.path / "model.tflite"
        self.resume = self.path / "resume.weights.h5"

    @property
    def exists(self):
        """Whether the folder is a run's."""
        return self.config_file.is_file()

    @property
    def finished(self):
        """Whether training has ended: its last act is to write the model."""
        return self.model.is_file()

    @property
    def config(self):
        """The settings, in today's names whichever version wrote them.

        Raises:
            FileNotFoundError: the folder has none.
            ValueError: they are damaged.
        """
        try:
            config = json.loads(self.config_file.read_text("utf-8"))
            _upgrade(config["recipe"])
            config["recipe"]["resize"]
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.path} is not a run folder (no {self.config_file.name})."
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{self.config_file}: not the settings of a run: {error!r}") from error
        return config


def _upgrade(recipe):
    """Bring a recipe of an earlier version to today's fields, in place."""
    if "fit" in recipe:
        recipe["resize"] = recipe.pop("fit")
    if "kl" in recipe:
        weights = {name: recipe.pop(name) for name in ("kl", "cc", "sim")}
        of_loss = {"saliency": weights, "edge_hold": {"alpha": recipe.pop("alpha")}}
        recipe["loss_args"] = of_loss.get(recipe["loss"], {})


def run_of(path):
    """The run that a model belongs to.

    Args:
        path: a run folder, or a model in it.

    Returns:
        `Run`, or None for a model that belongs to no run.
    """
    path = Path(path).resolve()
    for folder in (path, *path.parents[:2]):
        run = Run(folder)
        if run.exists and (path == folder or _is_model(run, path)):
            return run
    return None


def _is_model(run, path):
    models = (run.weights, run.model, run.tflite, run.saved_model)
    return path in models or path.parent == run.saved_model


def newest_run(folder=RUNS):
    """The run in a folder that was finished last.

    Args:
        folder: the folder that holds run folders.

    Raises:
        FileNotFoundError: it holds no finished run.
    """
    finished = [run for run in map(Run, Path(folder).glob("*")) if run.finished]
    if not finished:
        raise FileNotFoundError(
            f"no finished run in {folder}/; name a model, or train one with: keras-salnet train"
        )
    return max(finished, key=lambda run: run.model.stat().st_mtime)
