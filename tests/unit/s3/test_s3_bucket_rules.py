"""What a write sets off in a bucket."""

from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3 import xml
from imgtag_s3.bucket_rules import parse_lifecycle, parse_replication


def _state(key, size=100, **tags):
    return ObjectState(ref=ObjectRef("photos", key), etag="e", size=size, modified=0.0, tags=tags)


def _rule(content, status="Enabled"):
    return f"<Rule><Status>{status}</Status>{content}</Rule>"


def _lifecycle(*rules):
    return parse_lifecycle(xml.parse(f"<LifecycleConfiguration>{''.join(rules)}</LifecycleConfiguration>".encode()))


DELETES = "<Expiration><Days>30</Days></Expiration>"


def test_rules_that_count_from_the_last_change():
    """Each is named with what it does; without an ID it goes by its place."""
    moves = "<Transition><Days>7</Days><StorageClass>COLD</StorageClass></Transition>"
    rules = _lifecycle(_rule(f"<ID>tidy</ID>{moves}{DELETES}"), _rule(f"<Prefix/>{DELETES}"))
    assert ["tidy (deletes after 30 days, moves to COLD after 7 days)", "rule 2 (deletes after 30 days)"] == [
        rule.name for rule in rules
    ]


def test_rules_that_a_write_does_not_restart():
    """Those that are off, for a date, or for old versions."""
    date = "<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration>"
    old = "<NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays></NoncurrentVersionExpiration>"
    assert () == _lifecycle(_rule(DELETES, "Disabled"), _rule(date), _rule(old))


def test_filters():
    """By prefix, old and new, by tags, and by size; a rule without any is for all objects."""
    both = "<And><Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag></And>"
    sizes = "<ObjectSizeGreaterThan>10</ObjectSizeGreaterThan><ObjectSizeLessThan>99</ObjectSizeLessThan>"
    old, new, tagged, sized, every = (
        rule.filter
        for rule in _lifecycle(
            _rule(f"<Prefix>a/</Prefix>{DELETES}"),
            _rule(f"<Filter><Prefix>a/</Prefix></Filter>{DELETES}"),
            _rule(f"<Filter>{both}</Filter>{DELETES}"),
            _rule(f"<Filter><And>{sizes}</And></Filter>{DELETES}"),
            _rule(f"<Filter/>{DELETES}"),
        )
    )
    for by_prefix in (old, new):
        assert by_prefix.matches(_state("a/x.jpg"))
        assert not by_prefix.matches(_state("b/x.jpg"))
    assert tagged.matches(_state("a/x.jpg", k="v", other="1"))
    assert not tagged.matches(_state("a/x.jpg"))
    assert [False, True, False] == [sized.matches(_state("x", size)) for size in (10, 11, 99)]
    assert every.matches(_state("anything"))


def test_replication():
    """The enabled rules, each with where it sends new versions."""
    target = "<Destination><Bucket>arn:aws:s3:::far</Bucket></Destination>"
    document = (
        f"<ReplicationConfiguration><Role/>{_rule(f'<Filter><Prefix>a/</Prefix></Filter>{target}')}"
        f"{_rule(target, 'Disabled')}</ReplicationConfiguration>"
    )
    [rule] = parse_replication(xml.parse(document.encode()))
    assert "arn:aws:s3:::far" == rule.target
    assert [True, False] == [rule.filter.matches(_state(key)) for key in ("a/x.jpg", "b/x.jpg")]
