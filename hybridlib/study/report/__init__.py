"""The products of finished runs: tables, statistics, findings and figures."""
