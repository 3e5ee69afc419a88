"""Checks events of the Open Cybersecurity Schema Framework, one a line, as others read the schema. Prints what is wrong with each."""

import functools
import json
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from py_ocsf_models.events.findings.detection_finding import DetectionFinding

CLASSES = {
    2004: "detection_finding",
    3002: "authentication",
    3004: "entity_management",
    3005: "user_access",
    6003: "api_activity",
}


@functools.cache
def validator(version, class_uid, profiles):
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version=version))
    return jsonschema.Draft202012Validator(schema.get_class_schema(CLASSES[class_uid], list(profiles)))


def problems(event):
    metadata = event["metadata"]
    profiles = tuple(metadata.get("profiles", ()))
    for error in validator(metadata["version"], event["class_uid"], profiles).iter_errors(event):
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
    if event["class_uid"] == 2004:
        try:
            DetectionFinding.model_validate(event)
        except ValueError as error:
            yield str(error)


found = 0
for line in sys.stdin:
    event = json.loads(line)
    for problem in problems(event):
        found += 1
        print(f"{event['metadata'].get('event_code')} ({event['class_uid']}): {problem}")
sys.exit(1 if found else 0)
