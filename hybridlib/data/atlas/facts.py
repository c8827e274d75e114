"""The embedded corpus: questions and answer passages in 21 languages about facts of the Unicode CLDR.

The names of territories, cities, languages, currencies and scripts, and the facts about them, come from the CLDR as
the package Babel ships it. The sentences around the names are ours (`frames/<language>.yaml`, several for each
relation). So real multilingual text is at hand without a download. Some languages write an entity alike, others in a
foreign script.

| relation | entity -> answer | domain |
| --- | --- | --- |
| `territory.currency` | Kenya -> Kenyan Shilling | money |
| `city.currency` | Nairobi -> Kenyan Shilling | money |
| `territory.language` | Kenya -> Swahili | languages |
| `language.territory` | Amharic -> Ethiopia | languages |
| `city.territory` | Nairobi -> Kenya | places |
| `language.script` | Amharic -> Ethiopic | writing |

Nearly every entity has two relations, so each of its two passages is a hard rival of the other. Questions and passages
share little but the entity. The entity and the relation of a held-out fact both occur in training, but never together.
So held-out facts ask for composition, not recall.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from babel import Locale
from babel.core import get_global
from babel.languages import get_official_languages, get_territory_language_info
from babel.numbers import get_territory_currencies

from hybridlib.files import read_yaml
from hybridlib.names import LANGUAGES

DOMAINS = {
    "territory.currency": "money",
    "city.currency": "money",
    "territory.language": "languages",
    "language.territory": "languages",
    "city.territory": "places",
    "language.script": "writing",
}
SPLITS = ("train", "validation", "test")
# These shares of the entities with two facts give one of them to a held-out split.
_HELD_OUT = {"validation": 0.15, "test": 0.4}
# CLDR names cities where it names time zones; a few large territories have dozens.
_MOST_CITIES = 8


def atlas_facts(seed: int = 0) -> pd.DataFrame:
    """List the facts and their splits, a row each.

    Args:
        seed: chooses the split; the same Babel version and seed give the same rows.

    Returns:
        `fact` (`<relation>/<entity>`), `relation`, `domain`, `entity` and `answer` (CLDR codes with their kind, as
        `territory:KE`), `split` (`train`, `validation` or `test`).
    """
    names = _names()
    facts = [fact for fact in _candidates() if fact[1] in names.index and fact[2] in names.index]
    table = pd.DataFrame(facts, columns=["relation", "entity", "answer"])
    table = table[table.entity.isin(_tellable(names, table.entity.unique()))]
    table = table.sort_values(["relation", "entity"], ignore_index=True)
    table.insert(0, "fact", table.relation + "/" + table.entity)
    table.insert(2, "domain", table.relation.map(DOMAINS))
    return table.assign(split=_splits(table, np.random.default_rng([seed, 0])))


def atlas_texts(facts: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Write a question and a passage for every fact in every language.

    Frames are drawn for every fact and language apart, so their choice says nothing about the fact.

    Args:
        facts: all facts, as returned by `atlas_facts`. A text depends on the row of its fact, so split afterwards.
        seed: chooses the frames.

    Returns:
        `fact`, `language`, `query`, `passage`; fact by fact, and in each the languages in the order of `LANGUAGES`.
    """
    draws = np.random.default_rng([seed, 1]).random((len(facts) * len(LANGUAGES), 2)).tolist()
    rows = []
    for (fact, language, frames, slots), (first, second) in zip(_frames_and_names(facts), draws, strict=True):
        questions, passages = frames["questions"], frames["passages"]
        query = questions[int(first * len(questions))].format(**slots)
        passage = passages[int(second * len(passages))].format(**slots)
        rows.append((fact, language, query, passage))
    return pd.DataFrame(rows, columns=["fact", "language", "query", "passage"])


def atlas_paraphrases(facts: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Write passages that tell every fact in one to three ways in every language; the number is drawn for each.

    Args:
        facts: all facts, as returned by `atlas_facts`.
        seed: chooses the number of ways and the order of the frames.

    Returns:
        `fact`, `language`, `number` (0, 1, 2), `passage`; fact by fact, and in each the languages in the order of
        `LANGUAGES`.
    """
    rng = np.random.default_rng([seed, 2])
    rows = []
    for fact, language, frames, slots in _frames_and_names(facts):
        passages = frames["passages"]
        chosen = rng.permutation(len(passages))[: rng.integers(1, len(passages) + 1)]
        rows += [(fact, language, n, passages[frame].format(**slots)) for n, frame in enumerate(chosen)]
    return pd.DataFrame(rows, columns=["fact", "language", "number", "passage"])


def atlas_names() -> pd.DataFrame:
    """List the names in CLDR of territories, cities, languages, currencies and scripts.

    Returns:
        A row for each of these that has a name in all languages, by code (such as `territory:KE`), and a column for
        each language.
    """
    return _names().copy()


@cache
def _frames(language: str) -> dict[str, dict[str, list[str]]]:
    return read_yaml(Path(__file__).parent / "frames" / f"{language}.yaml")


def _frames_and_names(facts: pd.DataFrame) -> Iterator[tuple[str, str, dict[str, list[str]], dict[str, str]]]:
    """Yield every fact in every language: its id, the language, the frames of its relation and the names to fill in."""
    names: dict[Any, dict[str, str]] = _names().astype(object).to_dict()
    frames = {language: _frames(language) for language in LANGUAGES}
    for fact, relation, entity, answer in facts[["fact", "relation", "entity", "answer"]].itertuples(index=False):
        for language in LANGUAGES:
            slots = {"entity": names[language][entity], "answer": names[language][answer]}
            yield fact, language, frames[language][relation], slots


@cache
def _names() -> pd.DataFrame:
    """Collect the names that exist in all languages.

    A code begins with its kind, as in `territory:KE`, since two kinds may have the same code in CLDR.
    """
    columns = {}
    for language in LANGUAGES:
        locale = Locale.parse(language)
        columns[language] = {
            **{f"territory:{code}": locale.territories.get(code) for code in _territories()},
            **{f"currency:{code}": name for code, name in locale.currencies.items()},
            **{f"language:{code}": name for code, name in locale.languages.items() if "_" not in code},
            **{f"script:{code}": name for code, name in locale.scripts.items()},
            **{f"city:{zone}": _city_name(locale, zone) for zone in _zones()},
        }
    # The German name of Reykjavík has soft hyphens. They are marks for typesetting and no part of the name.
    return pd.DataFrame(columns).dropna().sort_index().replace("\u00ad", "", regex=True)


@cache
def _zones() -> list[str]:
    """List the first few time zones of each territory that are named `Continent/City`."""
    zones = pd.DataFrame(sorted(get_global("zone_territories").items()), columns=["zone", "territory"])
    zones = zones[(zones.zone.str.count("/") == 1) & ~zones.zone.str.contains("^(?:Antarctica|Etc)/")]
    return zones.groupby("territory", sort=True).head(_MOST_CITIES).zone.tolist()


def _city_name(locale: Locale, zone: str) -> str | None:
    """Return the name of the city of a time zone, or None if there is none.

    Where CLDR leaves it out in a language of Latin script, it is the last part of the zone's own name. See
    https://www.unicode.org/reports/tr35/tr35-dates.html#Time_Zone_Format_Terminology (exemplar city)
    """
    name = locale.time_zones.get(zone, {}).get("city")
    if name is None and get_global("likely_subtags")[locale.language].split("_")[1] == "Latn":
        name = zone.rpartition("/")[2].replace("_", " ")
    return name


def _candidates() -> list[tuple[str, str, str]]:
    """List all facts that CLDR states without doubt, of every relation, as (relation, entity, answer).

    A territory with several currencies, or with two official languages spoken by as many people, has no such fact.
    """
    currency = {t: codes[0] for t in _territories() if len(codes := get_territory_currencies(t)) == 1}
    official = {t: language for t in _territories() if (language := _main_language(t))}
    facts = [("territory.currency", f"territory:{t}", f"currency:{c}") for t, c in currency.items()]
    facts += [("territory.language", f"territory:{t}", f"language:{code}") for t, code in official.items()]
    for zone in _zones():
        territory = get_global("zone_territories")[zone]
        facts.append(("city.territory", f"city:{zone}", f"territory:{territory}"))
        if territory in currency:
            facts.append(("city.currency", f"city:{zone}", f"currency:{currency[territory]}"))
    for language, tag in get_global("likely_subtags").items():
        parts = tag.split("_")
        # Hundreds of small languages are written in Latin script, which would make the question about it trivial. Of
        # these, only the main language of a territory is kept.
        if "_" not in language and len(parts) == 3 and (parts[1] != "Latn" or language in official.values()):
            facts.append(("language.script", f"language:{language}", f"script:{parts[1]}"))
            facts.append(("language.territory", f"language:{language}", f"territory:{parts[2]}"))
    return facts


def _main_language(territory: str) -> str | None:
    """Return the official language that most people speak, or None if there is none or the first two are level."""
    official = get_official_languages(territory, de_facto=True)
    information = get_territory_language_info(territory)
    shares = [information[code]["population_percent"] for code in official[:2]]
    return official[0] if official and len(set(shares)) == len(shares) else None


def _territories() -> list[str]:
    """List the codes of the territories, which have two letters."""
    codes: list[str] = list(Locale.parse("en").territories)
    return sorted(code for code in codes if len(code) == 2 and code.isalpha())


def _tellable(names: pd.DataFrame, entities: np.ndarray) -> set[str]:
    """Keep the entities whose name means nothing else in any language.

    A city that is called like its country would give two facts the same question.
    """
    names = names.loc[entities]
    shared = pd.Series(False, index=names.index)
    for language in LANGUAGES:
        shared |= names[language].str.casefold().duplicated(keep=False)
    return set(names.index[~shared])


def _splits(facts: pd.DataFrame, rng: np.random.Generator) -> list[str]:
    """Give one fact of some entities with two facts to a held-out split, and all other facts to training."""
    split = ["train"] * len(facts)
    rows_of = facts.groupby("entity", sort=True).indices
    for rows in rows_of.values():
        if len(rows) < 2:
            continue
        draw, which = rng.random(), rng.integers(len(rows))
        for name, share in _HELD_OUT.items():
            if 0 <= draw < share:
                split[int(rows[int(which)])] = name
            draw -= share
    return split
