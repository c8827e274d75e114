"""Readers of what people bring: files in the formats of the field, tables, and tasks of other libraries."""
