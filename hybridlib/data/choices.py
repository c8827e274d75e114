"""Checks of what a user chooses by name: splits and languages."""

from collections.abc import Sequence


def check_split(split: str, allowed: Sequence[str]) -> str:
    """Return the split, or refuse one that does not exist."""
    if split not in allowed:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(allowed)}")
    return split


def check_languages(languages: Sequence[str] | None, allowed: Sequence[str], name: str) -> list[str]:
    """Return the chosen languages, in the order in which they are named.

    Args:
        languages: the codes; None chooses all.
        allowed: the codes to choose from.
        name: the task or corpus that has these languages; messages name it.

    Raises:
        ValueError: there is no such language, one is named twice, or none is named.
    """
    chosen = list(allowed if languages is None else languages)
    for language in chosen:
        if language not in allowed:
            raise ValueError(f"languages: {language!r} is not in {name}; allowed: {', '.join(allowed)}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"languages {chosen} names one twice")
    if not chosen:
        raise ValueError(f"languages names none; allowed in {name}: {', '.join(allowed)}")
    return chosen
