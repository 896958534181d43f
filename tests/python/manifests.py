"""Renders a kustomization and validates its resources; prints them as a JSON array.

Built-in kinds are validated against the API's own schemas, custom resources against crds.json.
Usage: manifests.py DIRECTORY
"""

import json
import pathlib
import subprocess
import sys

import jsonschema
import kubernetes_validate
import yaml

VERSION = "1.37"
HERE = pathlib.Path(__file__).parent
CUSTOM = json.loads((HERE / "crds.json").read_text())


def validate(resource):
    kind = f"{resource['apiVersion']} {resource['kind']}"
    if kind in CUSTOM:
        jsonschema.validate(resource["spec"], CUSTOM[kind])
    else:
        kubernetes_validate.validate(resource, VERSION, strict=True)


def main():
    kubectl = pathlib.Path(sys.executable).with_name("kubectl")
    rendered = subprocess.run(
        [kubectl, "kustomize", sys.argv[1]], check=True, stdout=subprocess.PIPE
    )
    resources = list(yaml.safe_load_all(rendered.stdout))
    for resource in resources:
        name = f"{resource['kind']} {resource['metadata']['name']}"
        try:
            validate(resource)
        except (
            jsonschema.ValidationError,
            kubernetes_validate.ValidationError,
            kubernetes_validate.SchemaNotFoundError,
        ) as error:
            sys.exit(f"{name}: {getattr(error, 'message', error)}")
    print(json.dumps(resources))


main()
