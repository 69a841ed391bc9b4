"""The synchronous functions."""

from __future__ import annotations

from boxes.api import once
from boxes.api.flow import blocking

run = blocking(once.run)
