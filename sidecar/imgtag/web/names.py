"""How labels are displayed, in answers of the API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from imgtag.labels.policy import LabelPolicy
from imgtag.workers.generations import LoadedModel

_OF_LABELS = frozenset({"ancestors", "category", "labels", "top_label"})
"""Fields whose values are labels or ancestors."""


class DisplayedNames:
    """Names of labels and ancestors that differ from what these are, by the models that the sidecar knows."""

    def __init__(self, models: Callable[[], Mapping[str, LoadedModel]], policy: LabelPolicy) -> None:
        self._models = models
        self._policy = policy
        self._by_model: dict[str, Mapping[str, str]] = {}

    def of_labels(self, model: str, labels: Iterable[str]) -> dict[str, str]:
        """Those of labels or ancestors of a model."""
        names = self._names(model)
        return {label: names[label] for label in labels if label in names}

    def of_facets(self, facets: Mapping[str, Iterable[str]]) -> dict[str, str]:
        """Those of counted values. Where models differ, the default model decides."""
        models = self._models()
        known = [models[""].info.id, *models[""].known]
        values = [value for field, counted in facets.items() if field in _OF_LABELS for value in counted]
        merged = {name: text for model in reversed(known) for name, text in self._names(model).items()}
        return {value: merged[value] for value in values if value in merged}

    def _names(self, model: str) -> Mapping[str, str]:
        info = self._models()[""].known.get(model)
        if info is None:
            return {}
        if model not in self._by_model:
            vocabulary = info.vocabulary(self._policy)
            self._by_model[model] = {
                name: definition.display
                for definitions in (vocabulary.ancestors, vocabulary.labels)
                for name, definition in definitions.items()
                if definition.display != name
            }
        return self._by_model[model]
