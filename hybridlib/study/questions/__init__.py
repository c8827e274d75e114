"""The five research questions: for each, the parameters of its notebook, the trials it compares, and its claims.

A trial's labels are the columns by which the notebook's tables and figures tell results apart.
"""

from hybridlib.study.params import Params
from hybridlib.study.questions.batch_ratio import BatchRatioParams
from hybridlib.study.questions.domain_data import DomainDataParams
from hybridlib.study.questions.language_imbalance import LanguageImbalanceParams
from hybridlib.study.questions.miracl_high_resource import MiraclHighResourceParams
from hybridlib.study.questions.mlqa_language_families import MlqaLanguageFamiliesParams

QUESTIONS: dict[str, type[Params]] = {
    "batch_ratio": BatchRatioParams,
    "language_imbalance": LanguageImbalanceParams,
    "domain_data": DomainDataParams,
    "miracl_high_resource": MiraclHighResourceParams,
    "mlqa_language_families": MlqaLanguageFamiliesParams,
}
