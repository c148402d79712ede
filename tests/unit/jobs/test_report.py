"""The report of a job: one line for each object, also after it was killed."""

import csv
import json

import pytest

from imgtag.errors import ConfigError
from imgtag.jobs.report import Report, Row

ROW = Row(bucket="photos", key='a,"b"\n.jpg', outcome="labelled", labels={"red fox": 0.59}, ms=12)


def test_rows_are_csv(tmp_path):
    """A key may hold whatever a key may."""
    with Report(tmp_path / "r.csv") as report:
        report.add(ROW)
    with (tmp_path / "r.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert {
        "bucket": "photos",
        "key": ROW.key,
        "outcome": "labelled",
        "reason": "",
        "labels": "red_fox=0.59",
        "ms": "12",
    } == row


def test_rows_are_json(tmp_path):
    """One object a line."""
    with Report(tmp_path / "r.jsonl") as report:
        report.add(ROW)
    assert {"red fox": 0.59} == json.loads((tmp_path / "r.jsonl").read_text())["labels"]


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_killed_job_leaves_no_row_twice(tmp_path, name):
    """What was written after the last checkpoint is written again."""
    with Report(tmp_path / name) as report:
        report.add(ROW)
        size = report.write(report.take())
        whole = (tmp_path / name).read_bytes()
        report.add(ROW)
    with Report(tmp_path / name, size):
        pass
    assert whole == (tmp_path / name).read_bytes()


@pytest.mark.parametrize("name", ["r.txt", "missing/r.csv"])
def test_a_file_that_cannot_be_a_report_is_refused_at_once(tmp_path, name):
    """Not after hours."""
    with pytest.raises(ConfigError):
        Report(tmp_path / name)
