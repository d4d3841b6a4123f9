"""What one gateway shows at /metrics."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Numbers:
    """What one gateway shows."""

    def __init__(self, url: str, **headers: str) -> None:
        answer = httpx.get(f"{url}/metrics", headers=headers)
        assert answer.status_code == 200, answer.text
        self.samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples.get((f"gateway_{name}", *sorted(labels.items())), 0.0)
