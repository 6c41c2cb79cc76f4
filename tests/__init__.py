"""The tests; a package so that they can share what serves them all: `tests.fake_youtube`."""
