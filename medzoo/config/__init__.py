"""Model configs: YAML files, read as frozen dataclasses.

An error names the file, the key and what was expected.
"""

from __future__ import annotations

from .arguments import ARGUMENTS
from .model import (
    BOX,
    CONTRACTS,
    DTYPES,
    FORMS,
    KINDS,
    LIST_TYPES,
    LOCAL,
    OPTION_TYPES,
    PRECISIONS,
    REMOTE,
    RETURNS,
    TAKEN,
    TORCH_FAMILY,
    Call,
    Condition,
    DataSet,
    Input,
    Metric,
    ModelConfig,
    Option,
    Output,
    Version,
    name_of,
    requirement_name,
)
from .schema import ID, read_config

__all__ = [
    "ARGUMENTS",
    "BOX",
    "CONTRACTS",
    "DTYPES",
    "FORMS",
    "ID",
    "KINDS",
    "LIST_TYPES",
    "LOCAL",
    "OPTION_TYPES",
    "PRECISIONS",
    "REMOTE",
    "RETURNS",
    "TAKEN",
    "TORCH_FAMILY",
    "Call",
    "Condition",
    "DataSet",
    "Input",
    "Metric",
    "ModelConfig",
    "Option",
    "Output",
    "Version",
    "name_of",
    "read_config",
    "requirement_name",
]
