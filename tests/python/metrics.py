"""Reads the metrics page in both formats with Prometheus' own parsers and compares the samples.

The arguments are two files: the page in the text format, and as OpenMetrics.
"""

import sys

from prometheus_client import openmetrics, parser
from prometheus_client.openmetrics import parser as _  # noqa: F401


def read(path, parse):
    with open(path, encoding="utf-8") as page:
        families = list(parse(page.read()))
    names = {sample.name for family in families for sample in family.samples}
    for family in families:
        assert family.documentation, f"{family.name} has no help"
        assert family.type != "unknown", f"{family.name} has no type"
    return names, {family.name: family.type for family in families}


text_names, text_types = read(sys.argv[1], parser.text_string_to_metric_families)
open_names, open_types = read(sys.argv[2], openmetrics.parser.text_string_to_metric_families)
assert text_names == open_names, text_names ^ open_names
assert text_types.pop("grantmint_build_info") == "gauge"
assert open_types.pop("grantmint_build") == "info"
assert text_types == open_types, text_types.items() ^ open_types.items()
print(len(text_names))
