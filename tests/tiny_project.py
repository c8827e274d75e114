"""The parameters of a project that takes seconds: two notebooks, nine runs of half a second."""

_COMMON = {
    "profile": "tiny",
    "encoder": "static:scratch",
    "task": "atlas",
    "corpus": "atlas",
    "folds": [],
    "seeds": [0],
    "languages": ["en", "sw"],
    "alpha": 0.5,
    "training": {"batch_size": 8, "steps": 2, "temperature": 0.05, "learning_rate": 0.01},
}
TINY = {
    "domain_data": {
        **_COMMON, "domains": ["money"], "always": ["places"], "general": 40, "fewer": 20, "added": 20,
    },
    "miracl_high_resource": {
        **_COMMON, "all_languages": ["en", "fi", "sw"], "tested": ["en", "sw"], "longer": [], "measure": "map",
    },
}  # fmt: skip
