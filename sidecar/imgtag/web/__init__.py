"""The HTTP API of search, and the page that uses it."""
