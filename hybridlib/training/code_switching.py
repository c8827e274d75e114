"""Code-switched training pairs: English texts in which some words are in other languages.

Litschko et al. (ACL Findings 2023, "Boosting Zero-shot Cross-lingual Retrieval by Training on Artificially
Code-Switched Data", arXiv 2305.05295) replace words of English questions and passages, each with a fixed probability.
A word gives way to its translation into a language that is drawn at random. Their lexicons come from aligned word
embeddings or from titles of Wikipedia. Here the lexicon is induced from the parallel text of the corpus, so nothing is
downloaded. A word is replaced only if that text tells what it means.

A word is a lower-cased run of letters, marks and digits. It also ends where the script changes among hiragana, katakana
and Chinese characters. Chinese and Thai are written without spaces, so there a whole clause is a word. A clause hardly
ever comes twice; one that does is mostly a name between punctuation marks. So the rule finds fewer translations in
these languages, but no worse ones.
"""

import re

import numpy as np
import pandas as pd
from scipy import sparse

from hybridlib.arguments import Name, Seed, Share, checked, told
from hybridlib.data.corpus import ParallelCorpus

# Everything that is neither space nor punctuation is part of a word. `\w` would end words at the vowel signs of Hindi,
# Bengali, Telugu and Thai. The zero-width joiners, 200c and 200d, stand in the middle of Persian and Telugu words.
_BREAKS = r"\s!-/:-@\[-`{-¿×÷\u2000-\u200b\u200e-\u206f،؛؟٪۔।॥\u3000-\u3004\u3008-\u3020\u3030・！-／：-＠［-｀｛-･"
_WORD = re.compile(rf"[ぁ-ゟ]+|[ァ-ヺー-ヿ]+|[々㐀-鿿]+|[^{_BREAKS}ぁ-ヿ々㐀-鿿]+")
_LEAST_TEXTS = 2  # two words that meet only once may do so by chance


@checked
def lexicon(corpus: ParallelCorpus, *, source: Name = "en", least_dice: Share = 0.5) -> pd.DataFrame:
    """Induce translations of the words of a language from parallel text.

    The texts are the questions and the passages that exist in both languages. The association of two words is the Dice
    coefficient of the texts that they occur in, 2 |both| / (|one| + |other|). The most strongly associated words are
    linked first, and no word is linked twice in a language (competitive linking: Melamed 2000, "Models of Translational
    Equivalence among Words"). Ties are linked in the order of the words in the text.

    Args:
        corpus: parallel text.
        source: the language whose words are translated.
        least_dice: the least association of a word and its translation, 0 to 1.

    Returns:
        A row for every word and language with a translation: `word`, `language`, `translation`, `dice`.

    Raises:
        ValueError: the corpus lacks the language, or has no other; least_dice is out of range.
    """
    if source not in corpus.languages:
        raise ValueError(f"source is {told(source)}; the corpus has {', '.join(corpus.languages)}")
    if len(corpus.languages) < 2:
        raise ValueError(f"the corpus has {source} alone; a lexicon needs another language to translate into")
    frame = corpus.table.select_columns(["query", "passage"]).to_pandas().fillna("")
    texts = {code: frame.iloc[n :: len(corpus.languages)].to_numpy().ravel() for n, code in enumerate(corpus.languages)}
    ours, words = _occurrences(texts[source])
    exists = texts[source] != ""
    tables = []
    for language in corpus.languages:
        if language != source:
            theirs, translations = _occurrences(texts[language])
            shared = exists & (texts[language] != "")
            linked = _link(ours[shared], theirs[shared], least_dice)
            linked = linked.assign(word=words[linked.one], language=language, translation=translations[linked.other])
            tables.append(linked)
    return pd.concat(tables, ignore_index=True)[["word", "language", "translation", "dice"]]


@checked
def code_switch(corpus: ParallelCorpus, *, share: Share = 0.5, seed: Seed = 0) -> ParallelCorpus:
    """Replace words of the English part of a corpus by translations; strategy `en-en` trains on the result.

    Args:
        corpus: parallel text with English and other languages.
        share: the probability that a word is replaced, 0 to 1; the paper takes 0.5. Each occurrence of a word is drawn
            apart. Its language is drawn among those for which `lexicon` knows the word; other words stay.
        seed: another seed draws other replacements.

    Returns:
        A corpus of the one language `en`; it holds the items that exist in English.

    Raises:
        ValueError: share is no probability, the corpus lacks English, or has no other language.
    """
    known = {word: row.tolist() for word, row in lexicon(corpus).groupby("word").translation}
    generator = np.random.default_rng(seed)

    def switched(match: re.Match[str]) -> str:
        word = match.group()
        choices = known.get(word.lower())
        if choices is None or generator.random() >= share:
            return word
        translation = choices[generator.integers(len(choices))]
        return translation.capitalize() if word[0].isupper() else translation

    frame = corpus.table.to_pandas()
    frame = frame[(frame.language == "en") & (frame.passage.fillna("") != "")]
    texts = {name: [_WORD.sub(switched, text) for text in frame[name]] for name in ("query", "passage")}
    return ParallelCorpus.from_frame(frame.assign(**texts), ["en"])


def _occurrences(texts: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
    """Tell which words occur in which text, and list the words in their order of appearance. (T, W), (W,)"""
    # Lower-cased, the Turkish dotted capital I leaves its dot behind.
    of_text = [list(dict.fromkeys(_WORD.findall(text.lower().replace("i\u0307", "i")))) for text in texts]
    number, words = pd.factorize(np.array([word for some in of_text for word in some], dtype=object))
    ends = np.cumsum([0, *map(len, of_text)])
    return sparse.csr_array((np.ones(len(number), dtype=np.int32), number, ends), (len(texts), len(words))), words


def _link(ours: sparse.csr_array, theirs: sparse.csr_array, least_dice: float) -> pd.DataFrame:
    """Link the words of two languages, by number, one to one from the strongest association down. (T, W), (T, V)"""
    both = (ours.T @ theirs).tocoo()
    dice = 2 * both.data / (ours.sum(axis=0)[both.row] + theirs.sum(axis=0)[both.col])
    pairs = pd.DataFrame({"one": both.row, "other": both.col, "dice": dice})
    pairs = pairs[(both.data >= _LEAST_TEXTS) & (dice >= least_dice)]
    pairs = pairs.sort_values(["dice", "one", "other"], ascending=[False, True, True], ignore_index=True)
    one_linked, other_linked, kept = set(), set(), []
    for n, (one, other) in enumerate(zip(pairs.one, pairs.other, strict=True)):
        if one not in one_linked and other not in other_linked:
            one_linked.add(one)
            other_linked.add(other)
            kept.append(n)
    return pairs.iloc[kept]
