"""Better plans of the same cost, found by the true divergence: costs of linears do not quite add up.

Moves one linear down and others up along their frontiers, keeps what lowers the divergence on the search
texts. Knows no file; solving and forwards are given.
"""
