"""Documents as a sidecar makes them, drawn at random from a small world so that queries hit many of them."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from typing import Any

from imgtag.types.document import document_id
from imgtag.types.folding import fold, words
from imgtag.types.ref import ObjectRef

ANCESTORS = {
    "kit fox": ("fox", "canine", "animal"),
    "red fox": ("fox", "canine", "animal"),
    "wolf": ("canine", "animal"),
    "dog": ("canine", "animal"),
    "tabby cat": ("cat", "animal"),
    "café": ("building",),
    "mother's day": ("event",),
    'a "quoted" one': ("event",),
    "back\\slash": ("event",),
    "100% wool": ("clothing",),
    "x:y": ("event",),
    "🦊": ("fox", "animal"),
    "a|b": (),
    "to": (),
}
NAMES = ("Kit Fox 01", "IMG_1234", "DSC 0042 edit", "Zoë's dog", "_", "a'b; DROP TABLE", "ÄÖ straße", "fox", "100%")
FOLDERS = ("2024/Zoo/", "2024/", "", "2023/alps ü/", "Zoo/a*b/", "zoo/")
CAMERAS = ("Canon EOS R5", "NIKON Z 9", "canon eos r5", None)
TYPES = ("image/jpeg", "image/png", "image/webp")
PLACES = ((46.55, 7.95), (46.5, 7.9), (-33.9, 151.2), (89.9, 10.0), (0.0, 179.95), (0.0, -179.95), None, None)
START = 1_640_995_200  # 2022-01-01


def document(number: int, random: Random, site: str = "local") -> dict[str, Any]:
    """One document; the number makes its key unique."""
    name = f"{random.choice(NAMES)} {number:06}" if random.random() < 0.8 else f"{random.choice(NAMES)}{number % 40}"
    bucket, key = random.choice(("wildlife", "pets")), f"{random.choice(FOLDERS)}{name}.{number}.jpg"
    status = random.choices(("labelled", "unlabelled", "refused", "failed"), (20, 2, 1, 1))[0]
    return {
        "id": document_id(site, ObjectRef(bucket, key)),
        "site": site,
        "bucket": bucket,
        "key": key,
        "title": name,
        "prefixes": [key[: place + 1] for place, letter in enumerate(key) if letter == "/"],
        "words": sorted(set(words(key.removesuffix(".jpg")))),
        "type": random.choice(TYPES),
        "size": random.randrange(1_000, 9_000_000),
        "status": status,
        **({"code": random.choice(("too_large", "decode"))} if status in {"refused", "failed"} else {}),
        **_taken(random),
        **({"meta": {"license": random.choice("123"), "By": "Zoë"}} if random.random() < 0.5 else {}),
        **(_labelled(random) if status == "labelled" else {}),
        "model": "efficientnet-lite0@5f2c9a1b",
        "_vectors": {"img": None},
    }


def documents(count: int, seed: int = 1, site: str = "local") -> list[dict[str, Any]]:
    """As many documents, always the same for a seed."""
    random = Random(seed)
    return [document(number, random, site) for number in range(count)]


def _taken(random: Random) -> dict[str, Any]:
    when = START + random.randrange(3 * 365) * 86400 + random.choice((0, 43_200))
    day = datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%d")
    camera, place = random.choice(CAMERAS), random.choice(PLACES)
    sizes = {"width": random.choice((1000, 4000, 6000)), "height": random.choice((800, 4000))}
    return {
        "modified": when,
        "when": when,
        "when_day": day,
        "when_month": day[:7],
        **(sizes if random.random() < 0.9 else {}),
        **({"camera": camera} if camera else {}),
        **({"_geo": {"lat": place[0], "lng": place[1]}} if place else {}),
    }


def _labelled(random: Random) -> dict[str, Any]:
    labels = random.sample(list(ANCESTORS), random.randint(1, 3))
    scores = {label: round(random.uniform(0.1, 1), 2) for label in labels}
    labels.sort(key=lambda label: -scores[label])
    ancestors = sorted({ancestor for label in labels for ancestor in ANCESTORS[label]})
    scores |= {ancestor: round(random.uniform(0.3, 1), 2) for ancestor in ancestors}
    return {
        "labels": labels,
        "ancestors": ancestors,
        "terms": sorted({term for name in scores for term in (fold(name), *words(name))}),
        "scores": dict(sorted(scores.items())),
        "top_label": labels[0],
        "top_confidence": scores[labels[0]],
        "category": ancestors[0] if ancestors else labels[0],
    }
