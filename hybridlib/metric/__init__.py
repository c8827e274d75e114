"""The retrieval metric: exact ranks of relevant passages on a CPU or GPU, and measures computed from them."""
