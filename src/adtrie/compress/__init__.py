"""Compression of linears to adaptive-group INT4 and N:M sparsity, and the plan that spends a budget on it."""
