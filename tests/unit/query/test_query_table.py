"""Each row of the table of the query language, and what a person may well type beside it."""

from __future__ import annotations

import pytest

from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Score, StartsWith, parse

JULY, AUGUST = 1_719_792_000, 1_722_470_400  # of 2024
YEAR, NEXT_YEAR = 1_704_067_200, 1_735_689_600


def word(*forms: str) -> Condition:
    return Or((Is("terms", forms), Is("words", forms)))


def whole(term: str, title: str | None = None) -> Condition:
    return Or((Is("terms", (term,)), Is("title", (title or term,))))


FOX, DOG, CAT = word("fox"), word("dog"), word("cat")

TABLE = {
    # a word
    "fox": FOX,
    "FOX": FOX,
    "Fóx": FOX,
    "foxes": word("foxes", "fox", "foxe"),
    "fox dog": And((FOX, DOG)),
    "fox AND dog": And((FOX, DOG)),
    "fox Fox dog": And((FOX, DOG)),
    "kit_fox": And((word("kit"), FOX)),
    "man-eater": And((word("man"), word("eater"))),
    "IMG_1234.jpg": And((word("img"), word("1234"), word("jpg"))),
    "🦊": Is("terms", ("🦊",)),
    "size": word("size"),
    # the beginning of a word
    "fox*": Or((StartsWith("terms", "fox"), StartsWith("words", "fox"))),
    "img_12*": And((word("img"), Or((StartsWith("terms", "12"), StartsWith("words", "12"))))),
    # a whole term or title
    '"kit fox"': whole("kit fox"),
    '"Kit  Fox"': whole("kit fox", "kit  fox"),
    "“kit fox”": whole("kit fox"),
    '"Zoë"': whole("zoe", "zoe\N{COMBINING DIAERESIS}"),
    '"or"': whole("or"),
    r'"a \"quoted\" one"': whole('a "quoted" one'),
    r'"back\slash"': whole("back\\slash"),
    '"kit f"*': Or((StartsWith("terms", "kit f"), StartsWith("title", "kit f"))),
    # a confidence
    "fox>0.4": Score("fox", ">", 0.4),
    "fox > 0.4": Score("fox", ">", 0.4),
    '"kit fox">=0.4': Score("kit fox", ">=", 0.4),
    "kit_fox@0.4": Score("kit fox", ">=", 0.4),
    '"Kit_Fox"@.4': Score("kit_fox", ">=", 0.4),
    "Café<=1": Score("café", "<=", 1.0),
    "fox<0.4": Score("fox", "<", 0.4),
    "or>0.4": Score("or", ">", 0.4),
    # a field
    "label:fox*": StartsWith("labels", "fox"),
    "label:kit_fox": Is("labels", ("kit fox",)),
    'label:"Kit Fox"': Is("labels", ("kit fox",)),
    "bucket:wildlife": Is("bucket", ("wildlife",)),
    "prefix:2024/Zoo/": Is("prefixes", ("2024/zoo/",)),
    "prefix:2024/Zo": StartsWith("key", "2024/zo"),
    "prefix:2024/*": StartsWith("key", "2024/"),
    'prefix:"a b (1)/"': Is("prefixes", ("a b (1)/",)),
    'title:"Kit Fox 01"': Is("title", ("kit fox 01",)),
    "TITLE:kit*": StartsWith("title", "kit"),
    "title:a:b=c": Is("title", ("a:b=c",)),
    "type:image/*": StartsWith("type", "image/"),
    "type:Image/PNG": Is("type", ("image/png",)),
    "type:png": Is("type", ("png", "image/png")),
    'camera:"Canon EOS R5"': Is("camera", ("canon eos r5",)),
    "camera: canon*": StartsWith("camera", "canon"),
    "camera:*": StartsWith("camera", ""),
    "category:animal": Is("category", ("animal",)),
    "model:efficientnet-lite0@5f2c9a1b": Is("model", ("efficientnet-lite0@5f2c9a1b",)),
    "code:too_large": Is("code", ("too_large",)),
    "meta.license:2": Is("meta.license", ("2",)),
    "meta.License:*": StartsWith("meta.license", ""),
    # a date
    "after:2024": Compare("when", ">=", YEAR),
    "after:2024-07": Compare("when", ">=", JULY),
    "before:2024-08-01": Compare("when", "<", AUGUST),
    "on:2024": And((Compare("when", ">=", YEAR), Compare("when", "<", NEXT_YEAR))),
    "on:2024-07": And((Compare("when", ">=", JULY), Compare("when", "<", AUGUST))),
    "on:2024-07-31": And((Compare("when", ">=", AUGUST - 86400), Compare("when", "<", AUGUST))),
    "on:9999-12-31": And((Compare("when", ">=", 253_402_214_400), Compare("when", "<", 253_402_300_800))),
    # a number
    "size>1MB": Compare("size", ">", 1_000_000.0),
    "SIZE>=1.1mb": Compare("size", ">=", 1_100_000.0),
    "size<2kB": Compare("size", "<", 2000.0),
    "size<=3GB": Compare("size", "<=", 3e9),
    "size>500": Compare("size", ">", 500.0),
    "width>4000": Compare("width", ">", 4000.0),
    "height<800px": Compare("height", "<", 800.0),
    "width=4000": Compare("width", "=", 4000.0),
    "size@1MB": Compare("size", ">=", 1_000_000.0),
    "confidence>0.2": Compare("top_confidence", ">", 0.2),
    # a place
    "near:46.5,7.9,10km": Near(46.5, 7.9, 10_000.0),
    "near:-46.5,-7.9,500m": Near(-46.5, -7.9, 500.0),
    # together
    "-fox": Not(FOX),
    "not fox": Not(FOX),
    "NOT fox": Not(FOX),
    "--fox": Not(Not(FOX)),
    "-fox>0.4": Not(Score("fox", ">", 0.4)),
    '-"kit fox"': Not(whole("kit fox")),
    "-bucket:pets": Not(Is("bucket", ("pets",))),
    "-(fox dog)": Not(And((FOX, DOG))),
    "not fox dog": And((Not(FOX), DOG)),
    "fox OR dog": Or((FOX, DOG)),
    "fox or dog": Or((FOX, DOG)),
    "fox dog OR cat": Or((And((FOX, DOG)), CAT)),
    "fox (dog OR cat)": And((FOX, Or((DOG, CAT)))),
    "((fox))": FOX,
    # a name of the table beats a label of the same name
    "confidence>0.5": Compare("top_confidence", ">", 0.5),
    '"size">0.5': Score("size", ">", 0.5),
}


@pytest.mark.parametrize(("text", "condition"), TABLE.items(), ids=TABLE)
def test_each_row_of_the_table(text: str, condition: Condition) -> None:
    """A query means what the table says, and that the object is labelled."""
    expected = And((condition, Is("status", ("labelled",))))

    assert expected == parse(text).condition


@pytest.mark.parametrize("text", ["", "  ", "\t\n"])
def test_nothing_asked(text: str) -> None:
    """Who asks for nothing gets everything that is labelled."""
    assert Is("status", ("labelled",)) == parse(text).condition


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("status:failed", Is("status", ("failed",))),
        ("status:Refused", Is("status", ("refused",))),
        ("status:*", StartsWith("status", "")),
        ("status:un*", StartsWith("status", "un")),
        ("fox -status:failed", And((FOX, Not(Is("status", ("failed",)))))),
        ("(fox OR status:failed)", Or((FOX, Is("status", ("failed",))))),
    ],
)
def test_status_asked(text: str, condition: Condition) -> None:
    """Where a status is asked for, none is added."""
    assert condition == parse(text).condition


@pytest.mark.parametrize(
    ("text", "ranking"),
    [
        ("", ()),
        ("after:2024", ()),
        ("kit_fox@0.4 dog", ("kit fox", "dog")),
        ('"kit fox" bucket:pets', ("kit fox",)),
        ("-dog fox", ("fox",)),
        ("-(dog -fox) cat", ("fox", "cat")),
        ("label:kit_fox", ("kit fox",)),
        ("dogs", ("dogs", "dog")),
        ("Café", ("café", "cafe")),
        ("a b c d e", ("a", "b", "c")),
    ],
)
def test_ranking(text: str, ranking: tuple[str, ...]) -> None:
    """Hits come by the confidence of the first labels that are wanted, never by one that is not."""
    assert ranking == parse(text).ranking


@pytest.mark.parametrize(
    ("text", "mentions"),
    [
        ("fox -dog", ("fox", "dog")),
        ("foxes", ("foxes",)),
        ('"Kit Fox" kit_fox>0.2', ("kit fox",)),
        ("fo*", ()),
        ("label:zebra", ("zebra",)),
        ("bucket:wildlife after:2024 size>1", ()),
    ],
)
def test_mentions(text: str, mentions: tuple[str, ...]) -> None:
    """The words and labels that were named are told, each once; what is still being typed is none."""
    assert mentions == parse(text).mentions


def test_within_narrows_and_keeps_the_rest() -> None:
    """A page that may show one bucket only narrows what was typed."""
    query, bucket = parse("fox OR dog"), Is("bucket", ("pets",))

    assert And((query.condition, bucket)) == query.within(bucket).condition
    assert query.ranking == query.within(bucket).ranking
