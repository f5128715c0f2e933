"""A dataset x models → scores, as a table, JSON, CSV and a report."""

from keras_salnet.evaluation.protocol import evaluate
from keras_salnet.evaluation.report import write_report
from keras_salnet.evaluation.results import Evaluation, write_csv, write_json

__all__ = ["Evaluation", "evaluate", "write_csv", "write_json", "write_report"]
