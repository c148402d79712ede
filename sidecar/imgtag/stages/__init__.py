"""One arrow of the pipeline a module: receive, inspect, fetch, classify, annotate, index. None imports another."""
