"""Parts that another package brings to jetseg."""
