"""Public data: one module for each source, which knows its files, their checksums, their licence and their format.

Every module has `SOURCES`, what `hybridlib data info` prints, and `read_task` or `read_corpus`, which `load_task` and
`load_corpus` call. Files are read from `$HYBRIDLIB_DATA` or downloaded; see `hybridlib.data.sources.source`.
"""
