"""Finds what a valid policy probably did not mean.

`review` collects all findings and has those about rules in general; `dags`, `outbound` and `destinations` have the
others. What makes a policy invalid is not a finding: `authz.core.policy.rule_checks`, `authz.core.policy.reach`.
"""
