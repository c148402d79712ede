"""Stores, sources, indexers and classifiers for tests, and the suites that every plugin must pass.

For those who write plugins, and for our own tests; nothing else of the sidecar imports it.

    imgtag.testing.store        MemoryStore: versions, locks, races and failures on request
    imgtag.testing.source       MemorySource: redelivery, doubled and reordered deliveries
    imgtag.testing.indexer      MemoryIndexer: searches in plain Python, by the reference meaning of a query
    imgtag.testing.classifier   ColourClassifier, and HostileClassifier, which kills, hangs and raises
    imgtag.testing.conformance  one class of tests for each kind of plugin (the only part that needs pytest)

These are real implementations of the contracts in ``imgtag.plugin``, not mocks: what the sidecar does with
them it does with the others. What goes wrong is said through ``faults``, which all of them have:

    store, source, indexer = MemoryStore("photos"), MemorySource(), MemoryIndexer()
    source.send(store.put("photos/fox.jpg", picture))
    indexer.faults.fail(Unavailable(), times=3)
    store.before_rewrite(lambda: store.put("photos/fox.jpg", another))
    source.finish()
"""
