"""The state document (runtime-spec, "State")."""

from __future__ import annotations

from boxes.spec.document import dump
from boxes.spec.state import oci_state


def test_the_state_has_the_members_of_the_specification_in_its_order() -> None:
    state = oci_state("c1", "running", 4422, "/bundle", {"myKey": "myValue"})
    assert dump(state) == (
        '{"ociVersion":"1.3.0","id":"c1","status":"running","pid":4422,"bundle":"/bundle",'
        '"annotations":{"myKey":"myValue"}}'
    )


def test_no_process_and_no_annotations_are_left_out() -> None:
    assert oci_state("c1", "stopped", None, "/bundle") == {
        "ociVersion": "1.3.0",
        "id": "c1",
        "status": "stopped",
        "bundle": "/bundle",
    }
    assert oci_state("c1", "stopped", 0, "/bundle", {})["pid"] == 0


def test_the_annotations_are_a_copy() -> None:
    annotations = {"a": "1"}
    state = oci_state("c1", "created", 1, "/bundle", annotations)
    state["annotations"]["b"] = "2"
    assert annotations == {"a": "1"}
