"""The sources of public data: each module knows the files of one, their licence and their format.

A source has a `Source`, which `hybridlib data info` prints, and a `read_task` or `read_corpus`, which `load_task` or
`load_corpus` calls. Its files are pinned in `pinned/files.csv` and read from `$HYBRIDLIB_DATA`, or downloaded: see
`hybridlib.data.sources.source`.
"""
