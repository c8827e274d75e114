"""Belebele (Bandarkar et al., 2024): 900 questions on 488 passages of FLORES, in 122 language varieties.

A query is a question (without its four answers), a passage what it was asked about, relevant in every language. The
monolingual setting is MTEB's `BelebeleRetrieval` of one language, `<language>-<language>` there.

Languages are called by ISO 639-1, or ISO 639-3 where that has no code for them, as CLDR maps them: the standard variety
of a language by the language's own code (`arb` is `ar`, `pes` is `fa`), other varieties by theirs (`arz`). A script is
named only where a language comes in several and it is not the one mainly used: `zh` is in simplified characters, and
besides there are `zh-Hant` and `ar-Latn`, `bn-Latn`, `hi-Latn`, `ne-Latn`, `si-Latn` and `ur-Latn`.

The files are those of facebook/belebele on the Hugging Face hub at the revision that MTEB's published results name.
Their checksums and sizes are not published where they can be read without downloading them: the revision
pins them, and the number of questions is checked.
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pandas as pd
from babel.core import get_global

from hybridlib.data.sources.comprehension import checked_rows, chosen_languages, comprehension_task
from hybridlib.data.sources.source import File, Source, fetch
from hybridlib.data.task import RetrievalTask
from hybridlib.names import script

_REVISION = "75b399394a9803252cfec289d103de462763db7c"
_QUESTIONS = 900
# FLORES-200's codes: ISO 639-3 and ISO 15924.
_VARIETIES = """
acm_Arab afr_Latn als_Latn amh_Ethi apc_Arab arb_Arab arb_Latn ars_Arab ary_Arab arz_Arab asm_Beng azj_Latn bam_Latn
ben_Beng ben_Latn bod_Tibt bul_Cyrl cat_Latn ceb_Latn ces_Latn ckb_Arab dan_Latn deu_Latn ell_Grek eng_Latn est_Latn
eus_Latn fin_Latn fra_Latn fuv_Latn gaz_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hin_Latn hrv_Latn
hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kac_Latn kan_Knda kat_Geor kaz_Cyrl
kea_Latn khk_Cyrl khm_Khmr kin_Latn kir_Cyrl kor_Hang lao_Laoo lin_Latn lit_Latn lug_Latn luo_Latn lvs_Latn mal_Mlym
mar_Deva mkd_Cyrl mlt_Latn mri_Latn mya_Mymr nld_Latn nob_Latn npi_Deva npi_Latn nso_Latn nya_Latn ory_Orya pan_Guru
pbt_Arab pes_Arab plt_Latn pol_Latn por_Latn ron_Latn rus_Cyrl shn_Mymr sin_Latn sin_Sinh slk_Latn slv_Latn sna_Latn
snd_Arab som_Latn sot_Latn spa_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn tam_Taml tel_Telu tgk_Cyrl tgl_Latn
tha_Thai tir_Ethi tsn_Latn tso_Latn tur_Latn ukr_Cyrl urd_Arab urd_Latn uzn_Latn vie_Latn war_Latn wol_Latn xho_Latn
yor_Latn zho_Hans zho_Hant zsm_Latn zul_Latn
"""
# CLDR takes Tagalog for Filipino, `fil`.
_TAGALOG = {"tgl": "tl"}
_FIELDS = {"link": str, "question_number": int, "flores_passage": str, "question": str}


def _file(variety: str) -> File:
    url = f"https://huggingface.co/datasets/facebook/belebele/resolve/{_REVISION}/data/{variety}.jsonl"
    return File(f"belebele/data/{variety}.jsonl", url, None, None)


SOURCES = (
    Source(
        name="belebele",
        title="Belebele, passage retrieval in 122 language varieties, as in MTEB",
        homepage="https://huggingface.co/datasets/facebook/belebele",
        revision=_REVISION,
        licence="CC BY-SA 4.0",
        citation="""@inproceedings{bandarkar-etal-2024-belebele,
    title = {The Belebele Benchmark: a Parallel Reading Comprehension Dataset in 122 Language Variants},
    author = {Bandarkar, Lucas and Liang, Davis and Muller, Benjamin and Artetxe, Mikel and Shukla, Satya Narayan and
        Husa, Donald and Goyal, Naman and Krishnan, Abhinandan and Zettlemoyer, Luke and Khabsa, Madian},
    booktitle = {Proceedings of the 62nd Annual Meeting of the Association for Computational Linguistics},
    year = {2024},
    pages = {749--775},
}""",
        files=tuple(_file(variety) for variety in _VARIETIES.split()),
    ),
)


@cache
def languages_of_varieties() -> dict[str, str]:
    """Our code of every variety, by FLORES's; the rule is in the docstring of the module.

    >>> codes = languages_of_varieties()
    >>> codes["swh_Latn"], codes["zho_Hans"], codes["zho_Hant"], codes["arz_Arab"]
    ('sw', 'zh', 'zh-Hant', 'arz')
    """
    aliases = {**get_global("language_aliases"), **_TAGALOG}
    split = {variety: variety.split("_") for variety in _VARIETIES.split()}
    language = {variety: aliases.get(code, code) for variety, (code, _) in split.items()}
    scripts = Counter(language.values())
    return {
        variety: code if scripts[code] == 1 or script(code) == split[variety][1] else f"{code}-{split[variety][1]}"
        for variety, code in language.items()
    }


def read_task(name: str, languages: Sequence[str] | None) -> RetrievalTask:
    """Read the task in some of its languages.

    Args:
        name: `belebele`.
        languages: all 122 unless given, which makes 109,789 queries, 59,536 passages and 13 million
            judgements, in 2.4 GB of memory.

    Raises:
        ValueError: there is no such language, or a file is not as published.
        FileNotFoundError: a file is missing.
    """
    codes = languages_of_varieties()
    chosen = chosen_languages(name, languages, list(codes.values()))
    files = dict(zip(codes.values(), SOURCES[0].files, strict=True))
    return comprehension_task({language: _rows(fetch(files[language], name)) for language in chosen})


def _rows(path: Path) -> pd.DataFrame:
    rows = []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                record = json.loads(line.decode("utf-8"))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: not JSON in UTF-8: {error}") from error
            for field, kind in _FIELDS.items():
                if not isinstance(record, dict) or not isinstance(record.get(field), kind):
                    raise ValueError(f"{path}, line {number}: {field!r} is missing or not of the type {kind.__name__}")
            # Questions are counted anew for each passage, which its link stands for.
            key = f"{record['link']}#{record['question_number']}"
            rows.append((key, record["question"], record["flores_passage"]))
    return checked_rows(pd.DataFrame(rows, columns=["key", "question", "passage"]), path, _QUESTIONS)
