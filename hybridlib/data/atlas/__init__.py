"""The embedded corpus: questions and answer passages in 21 languages, made of facts of the Unicode CLDR."""
