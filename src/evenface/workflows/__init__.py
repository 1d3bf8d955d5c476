"""One function per verb of the command line; also the Python interface."""

from evenface.workflows.learning import (
    calibrate,
    check_data,
    evaluate,
    is_first_process,
    prepare,
    train,
    transfer,
)
from evenface.workflows.own import Own, train_own
from evenface.workflows.showing import serve
from evenface.workflows.studying import Compared, audit_claims, compare, demo, study
from evenface.workflows.using import explain, export, predict

__all__ = [
    "Compared",
    "Own",
    "audit_claims",
    "calibrate",
    "check_data",
    "compare",
    "demo",
    "evaluate",
    "explain",
    "export",
    "is_first_process",
    "predict",
    "prepare",
    "serve",
    "study",
    "train",
    "train_own",
    "transfer",
]
