"""SQuADShifts (Miller et al., 2020): SQuAD's questions asked anew in four domains, English, for validation.

The paper stops training early on them. An item is a question with the sentence that holds the start of its answer, as
in `squad-translate`; `new_wiki` are articles of Wikipedia that SQuAD does not have, `nyt` of the New York Times,
`reddit` comments and `amazon` reviews of products. Questions on one paragraph share a passage group.
"""

import logging
from collections.abc import Sequence

import pandas as pd

from hybridlib.data.corpus import ParallelCorpus, check_languages, check_split
from hybridlib.data.sources.source import File, Source, fetch
from hybridlib.data.sources.squad import answering_sentence, read_questions

logger = logging.getLogger(__name__)

# The branch has no tags; the files are versioned by name, and pinned by checksum.
_URL = "https://raw.githubusercontent.com/modestyachts/squadshifts-website/master/datasets/"
# Sizes and checksums: huggingface/datasets at b811663c865fe2acb9a778925a3f03e7eaa8659c,
# datasets/squadshifts/dataset_infos.json.
_FILES = {
    "new_wiki": ("new_wiki_v1.0.json", 3607393, "1d50a0ca4cdab88d038b52ea8a2d0510af6038d7f41a0a256b9659237769d0ee"),
    "nyt": ("nyt_v1.0.json", 4550058, "fd55ae252cc735a695fab4473d4cd605b154183ac3b3eb63068f53cfc86f36d6"),
    "reddit": ("reddit_v1.0.json", 4170330, "b4ac346dbf1816fdec80fdcf91d06a4b754fa51e47960fa8614a94f37ea42a4b"),
    "amazon": ("amazon_reviews_v1.0.json", 4177842, "9db7bdee84a91f0fb80b9e74f365042fbbb217cb8e0a7e73bb071245472589b6"),
}
LANGUAGES = ("en",)

SOURCES = (
    Source(
        name="squadshifts",
        title="SQuADShifts, test sets for SQuAD of four domains, English",
        homepage="https://modestyachts.github.io/squadshifts-website/",
        revision="v1.0",
        licence="CC BY 4.0",
        citation="""@inproceedings{miller2020effect,
  title = {The Effect of Natural Distribution Shift on Question Answering Models},
  author = {Miller, John and Krauth, Karl and Recht, Benjamin and Schmidt, Ludwig},
  booktitle = {Proceedings of ICML},
  year = {2020}
}""",
        files=tuple(
            File(f"squadshifts/{path}", _URL + path, f"sha256:{checksum}", size)
            for path, size, checksum in _FILES.values()
        ),
    ),
)


def read_corpus(name: str, split: str, languages: Sequence[str] | None, seed: int = 0) -> ParallelCorpus:
    """Read all four domains, one after the other.

    Args:
        name: `squadshifts`.
        split: `validation`, all there is: nothing is to be trained on it.
        languages: English.
        seed: not used, as the split is fixed.

    Raises:
        ValueError: an argument names something that does not exist, or a file is not of SQuAD's format.
        FileNotFoundError: `HYBRIDLIB_DATA` is set and lacks a file.
    """
    check_split(split, ("validation",))
    chosen = check_languages(languages, LANGUAGES, name)
    rows, lost = [], 0
    for domain, file in zip(_FILES, SOURCES[0].files, strict=True):
        for question in read_questions(fetch(file, name)):
            sentence = answering_sentence(question, "en")
            if sentence is None:
                lost += 1
            else:
                group = f"{domain}:{question.paragraph}"
                rows.append((f"{domain}:{question.key}", question.text, sentence, group, domain))
    if lost:
        logger.info("%s: %d questions are left out, whose answers do not stand where they should", name, lost)
    frame = pd.DataFrame(rows, columns=["item", "query", "passage", "passage_group", "domain"])
    return ParallelCorpus.from_frame(frame.assign(language="en", dataset=name), chosen)
