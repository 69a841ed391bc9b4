"""What this copy of boxes is, for `box --version` and the documents that name it."""

from __future__ import annotations

VERSION = "0.1.0"
COMMIT = ""
"""The revision it was built from; empty when the build did not know."""
SPEC_VERSION = "1.3.0"
"""The runtime-spec release it implements."""
