"""What is made of finished runs: tables, statistics, findings and figures."""
