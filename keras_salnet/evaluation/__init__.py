"""A dataset x models → scores, as a table, JSON, CSV and a report."""

from keras_salnet.evaluation.protocol import evaluate
from keras_salnet.evaluation.report import write_report
from keras_salnet.evaluation.results import Evaluation, write_csv, write_json
from keras_salnet.evaluation.saved_maps import SavedMaps

__all__ = ["Evaluation", "SavedMaps", "evaluate", "write_csv", "write_json", "write_report"]
