"""The parameters of a project that takes seconds: two notebooks, ten runs of half a second."""

_COMMON = {
    "profile": "tiny",
    "task": "atlas",
    "corpus": "atlas",
    "encoder": "static:scratch",
    "languages": ["en", "sw"],
    "alpha": 0.5,
    "seeds": [0],
    "sizes": [1.0],
    "batch_size": 8,
    "steps": 2,
    "temperature": 0.05,
    "learning_rate": 0.01,
    "data_seed": 0,
    "pool": None,
    "training": {},
}
TINY = {
    "domain_data": {**_COMMON, "domains": ["money"], "always": ["places"], "shares": [0.0, 0.5], "items": 40},
    "miracl_high_resource": {**_COMMON, "margin": 0.02},
}
