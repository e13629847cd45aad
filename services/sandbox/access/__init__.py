"""Who a token stands for, what RBAC lets that user do, and the reviews that tell."""
