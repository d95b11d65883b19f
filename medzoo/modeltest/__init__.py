"""Tests of models: run them and compare the result with their configs. `medzoo test`, and a
part of `medzoo contribute check`.

==================  ============================================================================
``report.py``       findings, and how they are printed
``runs.py``         the model runs: shapes, value range, seeds, batches, conditions, options
``recorded.py``     ``expected.npz``: what it made when it was recorded
``memory.py``       memory per sample, in a process that does nothing else
``examination.py``  all of these
==================  ============================================================================
"""

from __future__ import annotations

from .examination import examine
from .report import Finding, Report

__all__ = ["Finding", "Report", "examine"]
